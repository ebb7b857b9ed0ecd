/** What the supervising process and its workers say to each other. */

import type { User } from "#access/users.ts";
import type { Certificate } from "#local/pem.ts";
import type { IndexLayout } from "#metadata/index-layout.ts";
import type { Settings } from "#settings.ts";

/** One data folder with the identity of the disk in it. */
export interface FolderPlan {
  readonly path: string;
  readonly diskId: string;
}

/** All that a worker needs to know to serve. */
export interface WorkerPlan {
  /** Unique among all workers of all starts: it names the volumes that this worker writes. */
  readonly worker: string;
  readonly settings: Settings;
  readonly clusterId: string;
  readonly folders: readonly FolderPlan[];
  readonly indexLayout: IndexLayout;
  /** As they are now, so that a worker that is started again needs none of the operator's files. */
  readonly users: readonly User[];
  readonly certificate: Certificate | undefined;
  readonly codec: string;
}

export type ToWorker =
  | { readonly kind: "plan"; readonly plan: WorkerPlan }
  /** Do the background work from now on. */
  | { readonly kind: "elected" }
  /** Another worker has ended: its volumes can be closed and scanned. */
  | { readonly kind: "worker-ended"; readonly worker: string }
  | { readonly kind: "users"; readonly users: readonly User[] }
  | { readonly kind: "certificate"; readonly certificate: Certificate }
  | { readonly kind: "report"; readonly id: number }
  /** A connection comes with it, which is this worker's as soon as it says `taken`. */
  | { readonly kind: "connection" }
  /** Close so many connections with their next answers: others have time for them. */
  | { readonly kind: "shed"; readonly connections: number }
  | { readonly kind: "drain" };

export type ToSupervisor =
  | { readonly kind: "hello" }
  | { readonly kind: "session"; readonly session: string }
  | { readonly kind: "ready" }
  | { readonly kind: "taken" }
  /** Of the last second: the share of it in which the event loop did not wait. */
  | { readonly kind: "load"; readonly busy: number; readonly connections: number }
  /** It cannot serve; it waits to be ended. */
  | { readonly kind: "fault"; readonly message: string; readonly exitCode: number }
  | {
      readonly kind: "report";
      readonly id: number;
      readonly metrics: object;
      readonly jobs: readonly unknown[];
    };
