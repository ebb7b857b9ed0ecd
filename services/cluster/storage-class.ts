/** How a cluster keeps objects: as its operator says, else by the number of nodes that it began with. */
import { parseCodecName, shardCount } from "#codec/storage-class.ts";
import { type ChosenCodec, chooseCodec } from "#local/default-codec.ts";
import { EXIT_CONFIGURATION, OperatorFault } from "#local/operator-fault.ts";
import { activeNodes } from "#placement/placed-disks.ts";
import type { PlacedDisk, PlacementMap } from "#placement/placement-map.ts";

/** One lost shard more than this must not lose an object: a node is away each time it is updated. */
const PARITY_MIN = 2;
const COPIES_OF_TWO_NODES_MAX = 3;

/** Members of a group. Left alone it stays what it was at the beginning: what is kept so needs as many nodes for good. */
export function groupWidth(
  wanted: string,
  disks: readonly PlacedDisk[],
  old: PlacementMap | undefined,
): number {
  const active = disks.filter(({ state }) => state === "active").length;
  const chosen =
    wanted === "auto"
      ? chooseCodec("auto", old?.width ?? domainsOf(disks, active))
      : chooseCodec(checkedName(wanted), active);
  return Math.max(chosen.width, old?.width ?? 0);
}

/** What new objects of a gateway are kept as. */
export function codecOf(wanted: string, map: PlacementMap): ChosenCodec {
  if (wanted === "auto") return chooseCodec("auto", map.width);
  const chosen = chooseCodec(checkedName(wanted), map.disks.length);
  if (chosen.width <= map.width) return chosen;
  throw new OperatorFault(
    `Cannot keep objects as ${wanted}: that takes ${chosen.width} disks a group and this cluster's groups have ${map.width}; set ANYBUCKET_STORAGE_CLASS of the keeper first`,
    EXIT_CONFIGURATION,
  );
}

/** What to count: machines where there are enough, else disks. */
function domainsOf(disks: readonly PlacedDisk[], active: number): number {
  const nodes = activeNodes(disks);
  if (nodes >= COPIES_OF_TWO_NODES_MAX) return nodes;
  return nodes === 1 ? active : Math.min(active, COPIES_OF_TWO_NODES_MAX);
}

function checkedName(name: string): string {
  const shape = parseCodecName(name);
  if (shape?.kind !== "ec" || shape.m >= PARITY_MIN) return name;
  throw new OperatorFault(
    `Cannot keep objects as ${name}: a cluster takes ec-K+M with M of ${PARITY_MIN} or more, such as ec-${shape.k}+${PARITY_MIN} on ${shardCount(shape) + PARITY_MIN - shape.m} nodes`,
    EXIT_CONFIGURATION,
  );
}
