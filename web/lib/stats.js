// What the browser's own `getStats` says, in the application's words: one line per received track, one per sent layer, one for
// the path; beside it what the server says of what it sends. Owns the differences between two samples. `room.js` makes one per
// session and passes on what the server says.

/** @typedef {import("../weir.js").StatsSnapshot} StatsSnapshot */
/** @typedef {import("../weir.js").InboundStats} InboundStats */
/** @typedef {import("../weir.js").OutboundStats} OutboundStats */
/** @typedef {import("../weir-protocol.js").MemberStats} MemberStats */

/** The server measures anew every two seconds. */
const ASK_EVERY = 2_000;

export class Stats {
  /** Counters of the sample before, by stats id. @type {Map<string, { at: number, bytes: number, packets: number, lost: number }>} */
  #before = new Map();
  /** What the server said last. @type {MemberStats | null} */
  #server = null;
  #askedAt = -Infinity;
  /** Milliseconds for which each picture has stood since its beginning, by stats id. @type {Map<string, number>} */
  #stood = new Map();
  /** Since they were told: of the picture that stood longest. @type {number | undefined} */
  #frozen;

  /** Whether the server should be asked again now; true means that it will be. */
  due() {
    if (performance.now() - this.#askedAt < ASK_EVERY) return false;
    this.#askedAt = performance.now();
    return true;
  }

  /** @param {MemberStats} stats What the server says. */
  hear(stats) {
    this.#server = stats;
  }

  /**
   * For how long any picture stood between the last two calls but one, in milliseconds; and looks anew for the next call.
   * @param {RTCPeerConnection | undefined} connection
   */
  frozen(connection) {
    const frozen = this.#frozen;
    this.#frozen = undefined;
    void connection?.getStats().then((report) => {
      let most = 0;
      /** @type {Map<string, number>} */
      const stood = new Map();
      report.forEach((each) => {
        if (each.type !== "inbound-rtp" || each.kind !== "video") return;
        const now = (each.totalFreezesDuration ?? 0) * 1_000;
        stood.set(each.id, now);
        most = Math.max(most, now - (this.#stood.get(each.id) ?? now));
      });
      this.#stood = stood;
      this.#frozen = Math.round(most);
    }, () => {});
    return frozen;
  }

  /**
   * @param {RTCPeerConnection} connection
   * @param {(mid: string) => string | null} receivedTrack
   * @param {(mid: string) => string | null} sentTrack
   * @param {(track: string) => string | null} rid The layer the server says it sends.
   * @returns {Promise<StatsSnapshot>}
   */
  async sample(connection, receivedTrack, sentTrack, rid) {
    const report = await connection.getStats();
    /** @type {any[]} */
    const all = [];
    report.forEach((each) => all.push(each));
    const byId = new Map(all.map((each) => [each.id, each]));
    /** @type {InboundStats[]} */
    const inbound = [];
    /** @type {Map<string, OutboundStats>} */
    const outbound = new Map();
    for (const each of all) {
      if (each.type === "inbound-rtp") {
        const track = receivedTrack(each.mid);
        const rate = this.#rates(each.id, each.timestamp, each.bytesReceived, each.packetsReceived, each.packetsLost);
        if (track === null) continue;
        inbound.push({
          track,
          kind: each.kind,
          codec: codecName(byId.get(each.codecId)),
          rid: rid(track),
          width: each.frameWidth ?? 0,
          height: each.frameHeight ?? 0,
          fps: each.framesPerSecond ?? 0,
          bps: rate.bps,
          loss: rate.loss,
          jitterMs: (each.jitter ?? 0) * 1000,
          framesDecoded: each.framesDecoded ?? 0,
          framesDropped: each.framesDropped ?? 0,
          freezes: each.freezeCount ?? 0,
          frozenMs: (each.totalFreezesDuration ?? 0) * 1000,
          audioEnergy: each.totalAudioEnergy ?? 0,
          concealed: each.totalSamplesReceived ? (each.concealedSamples ?? 0) / each.totalSamplesReceived : 0,
        });
      } else if (each.type === "outbound-rtp") {
        const track = sentTrack(each.mid);
        const remote = byId.get(each.remoteId);
        const rate = this.#rates(each.id, each.timestamp, each.bytesSent, each.packetsSent, 0);
        if (track === null) continue;
        /** @type {OutboundStats} */
        const entry = outbound.get(track) ?? { track, kind: each.kind, codec: codecName(byId.get(each.codecId)), layers: [], loss: 0, limitedBy: "none" };
        entry.layers.push({
          rid: each.rid ?? null,
          active: each.active ?? true,
          width: each.frameWidth ?? 0,
          height: each.frameHeight ?? 0,
          fps: each.framesPerSecond ?? 0,
          bps: rate.bps,
        });
        entry.loss = Math.max(entry.loss, remote?.fractionLost ?? 0);
        if (each.qualityLimitationReason && each.qualityLimitationReason !== "none") entry.limitedBy = each.qualityLimitationReason;
        outbound.set(track, entry);
      }
    }
    const transport = all.find((each) => each.type === "transport");
    const pair = byId.get(transport?.selectedCandidatePairId) ?? all.find((each) => each.type === "candidate-pair" && each.nominated);
    const local = byId.get(pair?.localCandidateId);
    const remote = byId.get(pair?.remoteCandidateId);
    const down = pair ? this.#rates(pair.id, pair.timestamp, pair.bytesReceived, 0, 0).bps : 0;
    const up = pair ? this.#rates(`${pair.id}/up`, pair.timestamp, pair.bytesSent, 0, 0).bps : 0;
    return {
      at: Date.now(),
      path: {
        rttMs: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
        protocol: remote?.protocol ?? null,
        relayed: local?.candidateType === "relay",
        downBps: down,
        upBps: up,
        availableUpBps: pair?.availableOutgoingBitrate ?? null,
      },
      inbound,
      outbound: [...outbound.values()],
      server: this.#server,
    };
  }

  /** @param {string} id @param {number} at @param {number} bytes @param {number} packets @param {number} lost */
  #rates(id, at, bytes = 0, packets = 0, lost = 0) {
    const before = this.#before.get(id);
    this.#before.set(id, { at, bytes, packets, lost });
    if (!before || at <= before.at) return { bps: 0, loss: 0 };
    const gone = Math.max(0, lost - before.lost);
    const came = Math.max(0, packets - before.packets);
    return {
      bps: Math.max(0, ((bytes - before.bytes) * 8_000) / (at - before.at)),
      loss: gone + came === 0 ? 0 : gone / (gone + came),
    };
  }
}

/** @param {{ mimeType?: string } | undefined} codec */
function codecName(codec) {
  return codec?.mimeType?.split("/")[1] ?? null;
}
