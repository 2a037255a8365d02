// The path that media takes, read from getStats: direct, or through which relay, and how far it is.
// Pure functions over a stats report.

/** The candidate pair in use, in any browser's way of saying so. */
function selectedPair(report) {
  const all = [...report.values()];
  const transport = all.find((s) => s.type === 'transport' && s.selectedCandidatePairId);
  const pair = transport && report.get(transport.selectedCandidatePairId);
  return pair ?? all.find((s) => s.type === 'candidate-pair' && (s.selected || (s.nominated && s.state === 'succeeded')));
}

/**
 * `{kind, relay, protocol, rtt, local, remote}` or null while there is none.
 * kind: 'direct' | 'relay' (through our own relay) | 'remote-relay' (only the other side uses one);
 * relay: 'udp' | 'tcp' | 'tls' for kind 'relay'; rtt in milliseconds or null.
 */
export function pathOf(report) {
  const pair = selectedPair(report);
  const local = pair && report.get(pair.localCandidateId);
  const remote = pair && report.get(pair.remoteCandidateId);
  if (!local || !remote) return null;
  let kind = 'direct';
  if (local.candidateType === 'relay') kind = 'relay';
  else if (remote.candidateType === 'relay') kind = 'remote-relay';
  return {
    kind,
    relay: kind === 'relay' ? local.relayProtocol ?? 'udp' : null,
    protocol: local.protocol,
    rtt: Number.isFinite(pair.currentRoundTripTime) ? Math.round(pair.currentRoundTripTime * 1000) : null,
    local: local.candidateType,
    remote: remote.candidateType,
    server: local.url ?? null,
  };
}

/**
 * What the operator's statistics may know of it: `{path, transport}`, kinds only; null while there is none.
 * A pair of which only the other side uses a relay is a relayed one too.
 */
export function outcomeOf(report) {
  const found = pathOf(report);
  if (!found) return null;
  const { local, remote, relay, protocol } = found;
  if (local === 'relay' || remote === 'relay') return { path: 'relay', transport: relay ?? protocol };
  // The other side may be `prflx` only because its name could not be looked up in time.
  const mapped = local === 'srflx' || local === 'prflx' || remote === 'srflx';
  return { path: mapped ? 'srflx' : 'host', transport: protocol };
}

/** Counters worth showing; bit rates come from the difference to `before`, an earlier result. */
export function quality(report, before) {
  const now = { at: 0, in: 0, out: 0, lost: 0, received: 0, frames: 0, width: 0, height: 0, fps: 0, codec: '' };
  for (const s of report.values()) {
    if (s.type === 'inbound-rtp') {
      now.at = s.timestamp;
      now.in += s.bytesReceived ?? 0;
      now.lost += Math.max(0, s.packetsLost ?? 0);
      now.received += s.packetsReceived ?? 0;
      if (s.kind === 'video') {
        now.frames = s.framesDecoded ?? 0;
        now.width = s.frameWidth ?? 0;
        now.height = s.frameHeight ?? 0;
        now.fps = Math.round(s.framesPerSecond ?? 0);
        now.codec = (report.get(s.codecId)?.mimeType ?? '').replace('video/', '');
      }
    } else if (s.type === 'outbound-rtp') {
      now.out += s.bytesSent ?? 0;
    }
  }
  const ms = before ? now.at - before.at : 0;
  const rate = (bytes) => (ms > 0 ? Math.max(0, Math.round((bytes * 8) / ms)) : null);
  now.kbitIn = rate(now.in - (before?.in ?? 0));
  now.kbitOut = rate(now.out - (before?.out ?? 0));
  const lost = now.lost - (before?.lost ?? 0);
  const total = lost + now.received - (before?.received ?? 0);
  now.lossPercent = total > 0 ? Math.max(0, (100 * lost) / total) : null;
  return now;
}
