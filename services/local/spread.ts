/**
 * Which gateway process a new connection goes to, and when a process gives some of its own up. Pure.
 *
 * Few processes do the same work for less: their appends and commits go to the disk in larger groups, and each keeps its
 * caches warm (16 connections that write 4 KiB objects cost a third less on one process than on two). So connections are
 * packed onto the oldest process until it is busy, and only then spread.
 */

export interface ProcessLoad {
  readonly connections: number;
  /** Share of the last second in which its event loop did not wait, 0 to 1. */
  readonly busy: number;
}

/** `even`: the process with fewest connections gets the next one. */
export const SPREADS = ["packed", "even"] as const;
export type Spread = (typeof SPREADS)[number];

/** A process that is busy for more of its time than this gets no connections while another has fewer. */
const BUSY_ENOUGH = 0.7;
/** Loads are a second old: a crowd that comes within it is not all for one process. */
const PACKED_CONNECTIONS_MAX = 64;
/** Above this the requests of one process wait for each other. */
const TOO_BUSY = 0.9;
/** The least by which the other must be less busy, so that connections do not go to and fro. */
const LESS_BUSY = 0.3;

/** The place of the one that gets the next connection; -1 when there is none. `loads`: oldest process first. */
export function nextProcess(loads: readonly ProcessLoad[], spread: Spread): number {
  if (spread === "packed") {
    const packed = loads.findIndex(
      ({ connections, busy }) => connections < PACKED_CONNECTIONS_MAX && busy < BUSY_ENOUGH,
    );
    if (packed >= 0) return packed;
  }
  return least(loads, ({ connections }) => connections);
}

/** How many connections the busiest process should give up to even things out; undefined: none. */
export function overload(
  loads: readonly ProcessLoad[],
): { readonly place: number; readonly connections: number } | undefined {
  const place = least(loads, ({ busy }) => -busy);
  const idlest = loads[least(loads, ({ busy }) => busy)];
  const busiest = loads[place];
  if (busiest === undefined || idlest === undefined) return undefined;
  if (busiest.busy < TOO_BUSY || busiest.busy - idlest.busy < LESS_BUSY) return undefined;
  const connections = Math.floor((busiest.connections - idlest.connections) / 2);
  return connections > 0 ? { place, connections } : undefined;
}

function least(loads: readonly ProcessLoad[], measure: (load: ProcessLoad) => number): number {
  let found = -1;
  let lowest = Number.POSITIVE_INFINITY;
  for (const [place, load] of loads.entries()) {
    const measured = measure(load);
    if (measured >= lowest) continue;
    lowest = measured;
    found = place;
  }
  return found;
}
