/** The placement map of a cluster, from the moment there is one, with the nodes that it names. */
import type { NodeStores } from "#cluster/node-stores.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { CurrentMap } from "#placement/current-map.ts";
import type { PlacementMap } from "#placement/placement-map.ts";
import { MAP_KEY } from "#placement/placement-record.ts";

const AGAIN_MS = 500;

export interface FollowParts {
  readonly metadata: MetadataStore;
  readonly nodes: NodeStores;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly onWait: (reason: string) => void;
}

/** The keeper makes the first one. */
export async function followMap({
  metadata,
  nodes,
  clock,
  log,
  signal,
  onWait,
}: FollowParts): Promise<CurrentMap> {
  for (let turn = 0; (await metadata.get(MAP_KEY, signal)) === undefined; turn++) {
    const reason = `waiting for the keeper to place data: ${nodes.nodes.length} storage nodes have registered`;
    if (turn === 0) log.info(reason);
    onWait(reason);
    await clock.sleep(AGAIN_MS, signal);
  }
  // A hint of the map may come before the one of its nodes, whose records were written first.
  const onChange = (map: PlacementMap) => {
    const isKnown = map.disks.every(({ id, state }) => state === "gone" || nodes.stores.has(id));
    if (isKnown) return;
    const refreshed = nodes.refresh(signal);
    refreshed.catch((error: unknown) => log.warn({ err: error }, "nodes cannot be read"));
  };
  const map = await CurrentMap.open({ metadata, clock, log, onChange }, signal);
  onChange(map.map);
  return map;
}
