/** Asks an engine at intervals whether it is alive. */

const INTERVAL_MILLISECONDS = 10_000;
const DEADLINE_MILLISECONDS = 30_000;

/**
 * Calls `lost` once when a ping was not answered in time. A machine that slept in between is given another try.
 * @param ping resolves with the answer; a rejection means that the connection is gone, of which others take care
 * @returns what ends the heartbeat
 */
export function startHeartbeat(ping: () => Promise<unknown>, lost: () => void): () => void {
  let stopped = false;
  let timer = setTimeout(beat, INTERVAL_MILLISECONDS);
  return stop;

  function stop(): void {
    stopped = true;
    clearTimeout(timer);
  }

  function beat(): void {
    const sent = Date.now();
    timer = setTimeout(() => {
      const slept = Date.now() - sent > 2 * DEADLINE_MILLISECONDS;
      if (slept) return beat();
      stop();
      lost();
    }, DEADLINE_MILLISECONDS);
    const own = timer;
    ping().then(
      () => {
        // The answer to a ping that was given up counts for nothing.
        if (stopped || own !== timer) return;
        clearTimeout(timer);
        timer = setTimeout(beat, INTERVAL_MILLISECONDS);
      },
      () => undefined,
    );
  }
}
