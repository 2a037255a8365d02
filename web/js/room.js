// Room names and links: what stands in the address bar. Pure but for `randomName`.

/** Characters a room name may have; the course's clients allow as many. */
export const MAX_NAME = 40;

const FIRST = 'amber,ample,autumn,azure,bold,brave,breezy,bright,brisk,calm,clear,clever,cosy,crisp,dapper,eager,early,fair,fern,fleet,fresh,gentle,glad,golden,grand,happy,hazel,humble,ivory,jade,jolly,keen,kind,lively,lucky,lunar,mellow,merry,mild,misty,neat,noble,olive,pearl,plucky,polite,proud,quick,quiet,rapid,rosy,royal,ruby,sandy,silver,smart,solar,spry,still,sunny,swift,tidy,vivid,warm'.split(',');
const SECOND = 'badger,beacon,birch,bridge,brook,canyon,cedar,cliff,cloud,comet,coral,cove,crane,dune,falcon,finch,fjord,forest,fox,garden,glade,grove,harbor,heron,hill,island,lagoon,lake,lark,maple,marsh,meadow,moon,mountain,oak,ocean,orchard,otter,owl,panda,pebble,pine,planet,prairie,puffin,rain,reef,ridge,river,robin,sail,seal,shore,sparrow,spring,star,stone,swan,tiger,trail,tulip,valley,willow,wren'.split(',');
// No 0/o, 1/l/i: the name may be read out over the phone.
const TAIL = 'abcdefghjkmnpqrstuvwxyz23456789';

/** A name that can be read out and not be guessed: about 32 bits. */
export function randomName() {
  const dice = crypto.getRandomValues(new Uint32Array(6));
  const tail = [...dice.subarray(2)].map((n) => TAIL[n % TAIL.length]).join('');
  return `${FIRST[dice[0] % FIRST.length]}-${SECOND[dice[1] % SECOND.length]}-${tail}`;
}

/** What somebody typed or pasted (a name, or a whole link) as a room name; '' when nothing is left. */
export function tidyName(text) {
  const link = text.match(/\/r\/([^/?#\s]+)/);
  const name = link ? decode(link[1]) : text;
  const tidy = name.trim().replace(/\s+/g, '-').replace(/[/\\?#%<>"]/g, '');
  // A path segment of dots would be taken as "this folder" and vanish.
  return /^\.+$/.test(tidy) ? '' : [...tidy].slice(0, MAX_NAME).join('');
}

/** The room that a page address names, or null for the start page. */
export function roomOf(pathname) {
  const found = pathname.match(/^\/r\/([^/]+)\/?$/);
  return (found && tidyName(decode(found[1]))) || null;
}

/** Path of a room's page. */
export function roomPath(name) {
  return `/r/${encodeURIComponent(name)}`;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
