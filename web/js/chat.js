// The chat of a call: what was written, bounded, as text and never as anything else. Knows its own panel
// and nothing of signaling.

import { t } from './i18n.js';
import { $ } from './ui.js';

/** Characters of one message, in either direction. */
const LONGEST = 2000;
/** Messages that stay to be read. */
const KEPT = 200;

export class Chat {
  #send;
  #unread = 0;
  /** Others by uid, numbered in the order in which they first wrote. */
  #writers = new Map();

  /** `send(text)` says it to the others. */
  constructor(send) {
    this.#send = send;
    const input = $('chat-input');
    input.maxLength = LONGEST;
    $('chat-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (!text || input.disabled) return;
      this.#send(text);
      this.#add('own', t('chat.you'), text);
      input.value = '';
    });
    $('chat').addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.preventDefault();
      this.toggle(false);
    });
  }

  get isOpen() {
    return !$('chat').hidden;
  }

  /** Opens or closes the panel; the keyboard goes along. */
  toggle(open = !this.isOpen) {
    if (open === this.isOpen) return;
    $('chat').hidden = !open;
    $('call').dataset.chat = open ? 'yes' : 'no';
    const button = $('chat-button');
    button.setAttribute('aria-expanded', String(open));
    this.#count(0);
    if (!open) return button.focus();
    const log = $('chat-log');
    log.scrollTop = log.scrollHeight;
    ($('chat-input').disabled ? $('chat-close') : $('chat-input')).focus();
  }

  /** Somebody else has written. */
  hear(uid, text) {
    // Whoever comes and goes all day must not fill our memory with names.
    if (!this.#writers.has(uid) && this.#writers.size < KEPT) this.#writers.set(uid, this.#writers.size + 1);
    this.#add('other', t('chat.person', { n: this.#writers.get(uid) ?? '?' }), text.slice(0, LONGEST));
    if (!this.isOpen) this.#count(this.#unread + 1);
  }

  /** Whether there is anybody to write to. */
  company(some) {
    $('chat-input').disabled = $('chat-send').disabled = !some;
    $('chat-input').placeholder = t(some ? 'chat.placeholder' : 'chat.alone');
  }

  /** The call is over, and what was written in it. */
  clear() {
    this.toggle(false);
    $('chat-log').replaceChildren();
    this.#writers.clear();
    this.#count(0);
  }

  #add(whose, name, text) {
    const log = $('chat-log');
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const item = document.createElement('li');
    item.className = whose;
    const label = Object.assign(document.createElement('b'), { textContent: name });
    const words = Object.assign(document.createElement('p'), { textContent: text, dir: 'auto' });
    item.append(label, words);
    log.append(item);
    while (log.children.length > KEPT) log.firstElementChild.remove();
    if (atEnd || whose === 'own') log.scrollTop = log.scrollHeight;
  }

  #count(unread) {
    this.#unread = unread;
    const badge = $('chat-unread');
    badge.hidden = !unread;
    badge.textContent = unread > 99 ? '99+' : unread;
    const label = unread ? t('chat.unread', { n: unread }) : t('chat.title');
    $('chat-button').setAttribute('aria-label', label);
    $('chat-button').title = label;
  }
}
