// The microphone's level before joining: a bar that moves says more than a name in a list.

/** Calls `show(0..1)` while `track` lives; returns a function that stops it. */
export function meter(track, show) {
  const Audio = globalThis.AudioContext ?? globalThis.webkitAudioContext;
  if (!track || !Audio) return () => show(0);
  const context = new Audio();
  const analyser = context.createAnalyser();
  analyser.fftSize = 512;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Uint8Array(analyser.fftSize);
  let level = 0;
  let frame = 0;
  const tick = () => {
    analyser.getByteTimeDomainData(samples);
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample - 128)), 0) / 128;
    // Up at once, down slowly, as people expect of a level.
    level = Math.max(Math.min(1, peak * 1.6), level * 0.9);
    show(level);
    frame = requestAnimationFrame(tick);
  };
  tick();
  return () => {
    cancelAnimationFrame(frame);
    context.close().catch(() => {});
    show(0);
  };
}
