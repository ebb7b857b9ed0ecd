/** The admin API's words on storage nodes and garbage, the same for server, client and tests. Plain data: it travels as JSON. */

export const API_ROOT = "/api/v1";

export interface NodeList {
  readonly clusterId: string;
  /** 0: there is no placement map yet. */
  readonly epoch: number;
  /** Disks that hold shards of one group. */
  readonly width: number;
  readonly nodes: readonly NodeView[];
}

export interface NodeView {
  readonly id: string;
  readonly zone: string;
  readonly address: string;
  readonly weight: number;
  /** "new", "active", "draining", "out" or "removed". */
  readonly state: string;
  /** Whether it answered just now. */
  readonly answers: boolean;
  readonly disks: readonly DiskView[];
  /** Shard places of the map that are its, those that it is to give up included. */
  readonly places: number;
  readonly move: MoveView | undefined;
}

export interface DiskView {
  readonly id: string;
  readonly label: string;
  /** "writable", "full", "read-only", "failed" or "unreachable". */
  readonly state: string;
  readonly capacity: number;
  readonly free: number;
  /** Bytes of shards. */
  readonly live: number;
  /** It was of no use for long, and is emptied until it is again. */
  readonly isOut: boolean;
}

/** What is under way since the node's state changed. */
export interface MoveView {
  readonly bytes: number;
  readonly left: number;
  /** Undefined while nothing has moved yet. */
  readonly remainingMs: number | undefined;
}

export const NODE_ACTIONS = ["add", "drain", "remove"] as const;
export type NodeAction = (typeof NODE_ACTIONS)[number];

export interface NodeChange {
  /** Only says what would move. */
  readonly dryRun?: boolean;
  /** Of `drain`: takes it back. */
  readonly cancel?: boolean;
  /** Of `remove`: its data is gone, and is to be made again from the others'. */
  readonly lost?: boolean;
}

export interface NodeChangeAnswer {
  readonly id: string;
  /** Its state after the change; for a dry run the one it would have. */
  readonly state: string;
  /** Bytes and shard places that move, and to which nodes; an estimate from what the disks hold. */
  readonly bytes: number;
  readonly places: number;
  readonly receivers: readonly {
    readonly node: string;
    readonly bytes: number;
    readonly places: number;
  }[];
}

export const GARBAGE_ACTIONS = ["disarm", "arm", "confirm"] as const;
export type GarbageAction = (typeof GARBAGE_ACTIONS)[number];

export interface GarbageChange {
  /** Of `disarm`: what whoever asks later is told. */
  readonly reason?: string;
}

export interface GarbageView {
  /** "confirmed": asked and answered, and the sweep has not come round yet. */
  readonly state: "armed" | "disarmed" | "asking" | "confirmed";
  /** Of "disarmed". */
  readonly reason?: string | undefined;
  /** What it wants to remove, or has been told that it may. */
  readonly question?:
    | {
        readonly text: string;
        readonly askedMs: number;
        readonly doomed: number;
        readonly shards: number;
        readonly writes: number;
        /** Some of the doomed writes: BUCKET-ID/KEY. */
        readonly examples: readonly string[];
      }
    | undefined;
}
