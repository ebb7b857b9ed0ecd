/** What a node says of itself, and does when it is told to: the interface that both ends of proto/node.proto have. */
import type { StoreHealth } from "#shards/shard-store.ts";

export interface NodeControl {
  status(signal: AbortSignal): Promise<NodeStatus>;
  /** What a node does about it, and whether it remembers, is the role's affair. */
  setDraining(isDraining: boolean, signal: AbortSignal): Promise<void>;
}

export interface NodeStatus {
  readonly clusterId: string;
  readonly nodeId: string;
  readonly version: string;
  readonly state: "starting" | "ready" | "draining";
  /** Milliseconds since the epoch. */
  readonly startedMs: number;
  readonly disks: readonly DiskStatus[];
}

export interface DiskStatus {
  readonly diskId: string;
  /** For people: where the node has it. */
  readonly label: string;
  readonly health: StoreHealth;
  /** The server knows it, and fills it in. */
  readonly scrub?: ScrubProgress;
}

/** Shards that were verified since the node started, and how many of them were bad. */
export interface ScrubProgress {
  readonly verified: number;
  readonly bad: number;
  /** When the last one was; 0: none yet. */
  readonly lastMs: number;
}
