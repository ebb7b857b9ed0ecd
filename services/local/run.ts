/** Role `all`: one machine from its settings to the first screen, and back down in good order. */

import { flushCompileCache } from "node:module";
import { isatty } from "node:tty";
import { createLog } from "#lib/log.ts";
import { systemRandom } from "#lib/random.ts";
import { parseAddress, reachableUrl } from "#local/address.ts";
import { banner } from "#local/banner.ts";
import { openCertificate } from "#local/certificate.ts";
import { firstUser } from "#local/credentials.ts";
import { prepareMachine } from "#local/prepare.ts";
import { nextStopSignal } from "#local/stop-signal.ts";
import { Supervisor } from "#local/supervisor.ts";
import { LoadedUsers } from "#local/users.ts";
import type { MetadataStore } from "#metadata/metadata-store.ts";
import { DIRTY_MARKS } from "#placement/placement-record.ts";
import type { Settings } from "#settings.ts";

const MARKS_COUNTED = 1000;

export async function runMachine(settings: Settings, version: string): Promise<void> {
  const log = createLog({ level: settings.logLevel, format: settings.logFormat });
  const stopSignal = nextStopSignal();
  await using closing = new AsyncDisposableStack();
  const certificate = await openCertificate(settings, log);
  if (certificate !== undefined) closing.use(certificate);
  const machine = await prepareMachine(settings, { log, closing });
  const { metadata, credentials, notes } = machine;
  const users = await LoadedUsers.open(firstUser(credentials), settings.usersFile, log);
  const supervisor = new Supervisor({
    plan: (worker) => ({
      worker,
      settings,
      clusterId: machine.clusterId,
      folders: machine.folders,
      indexLayout: machine.indexLayout,
      users: users.current,
      certificate: certificate?.current,
      codec: machine.codec.name,
    }),
    workers: settings.workers,
    bootId: systemRandom.bytes(4).toString("hex"),
    address: settings.address,
    spread: settings.connectionSpread,
    adminAddress: settings.adminAddress,
    drainMs: settings.drain,
    notes: async () => [...notes, ...(await repairNotes(metadata))],
    endSession: (session) => metadata.endSession(session),
    log,
  });
  certificate?.onChange((next) => supervisor.tell({ kind: "certificate", certificate: next }));
  // The workers run what this process has just compiled.
  flushCompileCache();
  if (!(await isStarted(supervisor, stopSignal))) {
    await supervisor.stop();
    return;
  }
  const { codec, map } = machine;
  log.info({ folders: map.disks.length, codec: codec.name, address: settings.address }, "Ready");
  // The screen's last lines are those to paste.
  log.flush();
  const scheme = certificate === undefined ? "http" : "https";
  process.stdout.write(
    banner({
      ...machine,
      version,
      s3: reachableUrl(parseAddress(settings.address), scheme),
      admin: reachableUrl(parseAddress(settings.adminAddress), "http"),
      folders: machine.folders.map(({ path }) => path),
      codec: codec.name,
      mayLose: codec.mayLose,
      disks: map.disks.length,
      workers: settings.workers,
      region: settings.region,
      buckets: settings.buckets,
      isTerminal: isatty(1),
    }),
  );
  process.on("SIGHUP", () => {
    void certificate?.reload();
    void users.reload().then((isRead) => {
      if (isRead) supervisor.tell({ kind: "users", users: users.current });
      return isRead;
    });
  });
  log.info({ signal: await stopSignal }, "Stopping");
  await supervisor.stop();
  log.flush();
}

/** Marks are there from the moment a disk is replaced, or misses a write, until repair has seen to it. */
async function repairNotes(metadata: MetadataStore): Promise<readonly string[]> {
  const { entries } = await metadata.range({ ...DIRTY_MARKS, limit: MARKS_COUNTED });
  if (entries.length === 0) return [];
  const most = entries.length === MARKS_COUNTED ? "at least " : "";
  return [`degraded: repair has ${most}${entries.length} places to look at; see /jobs`];
}

/** Not so when it is asked to stop first. */
async function isStarted(supervisor: Supervisor, stopSignal: Promise<string>): Promise<boolean> {
  const isStopped = stopSignal.then(() => false);
  return Promise.race([supervisor.start().then(() => true), isStopped]);
}
