/** Every setting: its name, its default, one line on it. Read once, at the start. */
import { availableParallelism, hostname } from "node:os";
import { resolve } from "node:path";
import { ACCESS_KEY_RULE, isAccessKey, SECRET_KEY_LENGTH_MIN } from "#access/users-file.ts";
import { isBucketName } from "#gateway/bucket-name.ts";
import { type SettingRow, type SettingSources, SettingsReader } from "#lib/settings-reader.ts";
import { parseAddress } from "#local/address.ts";
import { checkFolderName, expandEllipsis } from "#local/folder-names.ts";
import { SPREADS } from "#local/spread.ts";
import { GROUP_COUNT_DEFAULT, GROUP_COUNT_MAX } from "#placement/placement-map.ts";

export type Settings = Readonly<ReturnType<typeof declareSettings>>;

export const SETTINGS_PREFIX = "ANYBUCKET_";

/** All: the whole store on one machine. The others are one process each of a cluster. */
export const ROLES = ["all", "gateway", "storage", "keeper"] as const;
export type Role = (typeof ROLES)[number];

/** What was read, a row for each setting, and every fault; no settings when there is a fault. */
export function readSettings(
  sources: Omit<SettingSources, "prefix">,
  role: Role = "all",
): {
  settings: Settings;
  rows: readonly SettingRow[];
  faults: readonly string[];
} {
  const reader = new SettingsReader({ prefix: SETTINGS_PREFIX, ...sources });
  const settings = declareSettings(reader);
  reader.refuseUnknown();
  const { rows } = reader;
  const faults = [
    ...reader.faults,
    ...contradictions(settings, rows),
    ...roleFaults(settings, role),
  ];
  return { settings, rows, faults };
}

/** A setting earns its row when two sensible operators would set it differently. */
function declareSettings(read: SettingsReader) {
  return {
    folders: read
      .list(
        "DATA",
        ["./data"],
        "Folders of data, one for each disk, comma separated",
        ["MINIO_VOLUMES"],
        checkFolderName,
      )
      .flatMap(expandEllipsis),
    address: read.text(
      "ADDRESS",
      ":9000",
      "Address and port of the S3 API",
      ["MINIO_ADDRESS"],
      parseAddress,
    ),
    adminAddress: read.text(
      "ADMIN_ADDRESS",
      ":9001",
      "Address and port of health and metrics; keep it inside your network",
      ["MINIO_CONSOLE_ADDRESS"],
      parseAddress,
    ),
    accessKey: read.credential(
      "ACCESS_KEY",
      "Access key of the first user; generated when not set",
      {
        aliases: ["MINIO_ROOT_USER", "MINIO_ACCESS_KEY", "AWS_ACCESS_KEY_ID"],
        isSecret: false,
        check: checkAccessKey,
      },
    ),
    secretKey: read.credential("SECRET_KEY", "Secret key of the first user", {
      aliases: ["MINIO_ROOT_PASSWORD", "MINIO_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"],
      isSecret: true,
      check: checkSecretKey,
    }),
    usersFile: read.optional("USERS_FILE", "JSON file with more users; read again on SIGHUP"),
    buckets: read.list(
      "BUCKETS",
      [],
      "Buckets to create at the start, comma separated",
      ["MINIO_DEFAULT_BUCKETS", "S3_BUCKET"],
      checkBucketName,
    ),
    region: read.optional("REGION", "Enforce this region; unset accepts any", ["MINIO_REGION"]),
    domains: read.list(
      "DOMAINS",
      [],
      "Domains whose sub-domains are buckets (*.localhost always works)",
      ["MINIO_DOMAIN"],
    ),
    tlsCertFile: read.optional("TLS_CERT_FILE", "PEM file of the certificate; turns TLS on"),
    tlsKeyFile: read.optional("TLS_KEY_FILE", "PEM file of its private key"),
    defaultOwnership: read.choice(
      "DEFAULT_OWNERSHIP",
      ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"],
      "BucketOwnerEnforced",
      "Object ownership of new buckets; the first switches ACLs off, as AWS does",
    ),
    legacySignatures: read.boolean(
      "LEGACY_SIGNATURES",
      false,
      "Accept Signature Version 2 (HMAC-SHA1) too: headers, presigned URLs and browser forms",
    ),
    storageClass: read.text(
      "STORAGE_CLASS",
      "auto",
      "How objects are kept: replica-N or ec-K+M; auto follows the number of folders",
    ),
    smallObject: read.bytes(
      "SMALL_OBJECT",
      "128KiB",
      "Objects below this size are replicated even where the class is erasure-coded",
    ),
    replace: read.list(
      "REPLACE",
      [],
      "Empty folders that take the place of lost disks, to be filled by repair",
    ),
    workers: read.integer(
      "WORKERS",
      availableParallelism(),
      "Gateway processes of one machine; one a core by default",
      { min: 1, max: 256 },
    ),
    connectionSpread: read.choice(
      "CONNECTION_SPREAD",
      SPREADS,
      "packed",
      "packed: connections go to as few gateway processes as the load needs, which costs least; even: to all alike",
    ),
    trashRetention: read.duration(
      "TRASH_RETENTION",
      "24h",
      "How long the bytes of deleted objects stay on disk",
    ),
    scrubInterval: read.duration(
      "SCRUB_INTERVAL",
      "7d",
      "How often every byte is read and checked",
    ),
    repairRate: read.bytes("REPAIR_RATE", "256MiB", "Bytes a second that repair may write"),
    drain: read.duration("DRAIN", "25s", "How long a stopping server lets requests finish"),
    logLevel: read.choice(
      "LOG_LEVEL",
      ["trace", "debug", "info", "warn", "error"],
      "info",
      "Least severe log lines written",
    ),
    logFormat: read.choice(
      "LOG_FORMAT",
      ["auto", "json", "pretty"],
      "auto",
      "auto: pretty on a terminal, else JSON lines",
    ),
    accessLog: read.boolean("ACCESS_LOG", true, "Write a line for each request"),
    adminToken: read.credential(
      "ADMIN_TOKEN",
      "Who shows this token may change the cluster's nodes; not set, nobody may",
      { aliases: [], isSecret: true, check: checkToken },
    ),
    cluster: declareCluster(read),
  };
}

/** Of the roles of a cluster. */
function declareCluster(read: SettingsReader) {
  return {
    etcd: read.list("ETCD", [], "etcd's addresses, comma separated; of a cluster's processes"),
    etcdQuota: read.bytes(
      "ETCD_QUOTA",
      "2GiB",
      "etcd's --quota-backend-bytes, for an etcd before 3.6, which does not tell",
    ),
    etcdCaFile: read.optional("ETCD_CA_FILE", "PEM file of the authority of etcd's certificates"),
    etcdCertFile: read.optional("ETCD_CERT_FILE", "PEM file of the certificate to show to etcd"),
    etcdKeyFile: read.optional("ETCD_KEY_FILE", "PEM file of its private key"),
    etcdUser: read.optional("ETCD_USER", "User of etcd, where it asks for one"),
    etcdPassword: read.credential("ETCD_PASSWORD", "Password of that user", {
      aliases: [],
      isSecret: true,
      check: () => undefined,
    }),
    name: read.text(
      "CLUSTER",
      "anybucket",
      "Name of the cluster: what its keys in etcd begin with",
      [],
      checkName,
    ),
    node: read.text(
      "NODE",
      hostname(),
      "Name of a storage node, the same at each start",
      [],
      checkName,
    ),
    zone: read.text(
      "ZONE",
      "default",
      "What a storage node may be lost together with",
      [],
      checkName,
    ),
    nodeAddress: read.optional(
      "NODE_ADDRESS",
      "Where the others reach a storage node; NODE and the port of ANYBUCKET_GRPC_ADDRESS when not set",
    ),
    grpcAddress: read.text(
      "GRPC_ADDRESS",
      ":9002",
      "Address and port on which a storage node serves its shards",
      [],
      parseAddress,
    ),
    gateway: read.boolean(
      "GATEWAY",
      false,
      "A storage node serves S3 too, with its own disks beside it",
    ),
    caFile: read.optional(
      "CLUSTER_CA_FILE",
      "PEM file of the cluster's own authority; turns mutual TLS between its processes on",
    ),
    certFile: read.optional("CLUSTER_CERT_FILE", "PEM file of this process's certificate by it"),
    keyFile: read.optional("CLUSTER_KEY_FILE", "PEM file of its private key"),
    weight: read.integer("WEIGHT", 1, "Share of each disk of a storage node, against others", {
      min: 1,
      max: 1000,
    }),
    // With fewer a start one after another would begin with one copy of everything, and stay so.
    initialNodes: read.integer(
      "INITIAL_NODES",
      3,
      "Storage nodes that a new cluster waits for before it places anything",
      { min: 1, max: 1000 },
    ),
    placementGroups: read.integer(
      "PLACEMENT_GROUPS",
      GROUP_COUNT_DEFAULT,
      "Placement groups of a new cluster; about a hundred for each disk it may grow to",
      { min: 1, max: GROUP_COUNT_MAX },
    ),
  };
}

function checkBucketName(name: string): void {
  if (isBucketName(name)) return;
  throw new Error(
    `"${name}" is not a bucket name: those have 3 to 63 lower-case letters, digits, dots and hyphens`,
  );
}

function checkAccessKey(text: string): void {
  if (!isAccessKey(text)) throw new Error(`must be ${ACCESS_KEY_RULE}`);
}

function checkSecretKey(text: string): void {
  if (text.length < SECRET_KEY_LENGTH_MIN) {
    throw new Error(`must have at least ${SECRET_KEY_LENGTH_MIN} characters`);
  }
}

function checkToken(text: string): void {
  if (text.length < TOKEN_LENGTH_MIN) {
    throw new Error(`must have at least ${TOKEN_LENGTH_MIN} characters`);
  }
}

/** They become parts of keys, and of lines to paste. */
function checkName(text: string): void {
  if (/^[A-Za-z0-9][\w.-]{0,62}$/.test(text)) return;
  throw new Error("must be up to 63 letters, digits, dots, hyphens and underscores");
}

const TOKEN_LENGTH_MIN = 16;

/** Settings that go together. */
const PAIRS = [
  ["TLS_CERT_FILE", "TLS_KEY_FILE"],
  ["ACCESS_KEY", "SECRET_KEY"],
  ["ETCD_CERT_FILE", "ETCD_KEY_FILE"],
  ["ETCD_USER", "ETCD_PASSWORD"],
  ["CLUSTER_CERT_FILE", "CLUSTER_KEY_FILE"],
  ["CLUSTER_CA_FILE", "CLUSTER_CERT_FILE"],
] as const;

function roleFaults(settings: ReturnType<typeof declareSettings>, role: Role): string[] {
  const { cluster, accessKey } = settings;
  if (role === "all") {
    if (cluster.etcd.length === 0) return [];
    return [
      "ANYBUCKET_ETCD is set, and one machine by itself keeps its index on its own disks: start a role of a cluster, gateway, storage or keeper",
    ];
  }
  const faults: string[] = [];
  if (cluster.etcdQuota === 0) {
    faults.push(
      "ANYBUCKET_ETCD_QUOTA is 0: it must be what etcd was given, 2GiB where that was none",
    );
  }
  if (cluster.etcd.length === 0) {
    faults.push(`ANYBUCKET_ETCD is not set: role ${role} needs etcd's addresses`);
  }
  const servesS3 = role === "gateway" || (role === "storage" && cluster.gateway);
  if (servesS3 && accessKey === undefined) {
    faults.push(
      "ANYBUCKET_ACCESS_KEY and ANYBUCKET_SECRET_KEY are not set: all gateways of a cluster need the same ones",
    );
  }
  return faults;
}

function contradictions(
  settings: ReturnType<typeof declareSettings>,
  rows: readonly SettingRow[],
): string[] {
  const faults: string[] = [];
  const sourceOf = (name: string) =>
    rows.find(({ variable }) => variable === SETTINGS_PREFIX + name)?.source;
  for (const [one, other] of PAIRS) {
    const sources = [sourceOf(one), sourceOf(other)];
    const set = sources.find((source) => source !== undefined);
    if (set === undefined || !sources.includes(undefined)) continue;
    const missing = sources[0] === undefined ? one : other;
    faults.push(`${set} is set without ${SETTINGS_PREFIX}${missing}: they go together`);
  }
  if (settings.address === settings.adminAddress) {
    faults.push(
      `ANYBUCKET_ADDRESS and ANYBUCKET_ADMIN_ADDRESS are both ${settings.address}: give each a port of its own`,
    );
  }
  const folders = settings.folders.map((folder) => resolve(folder));
  for (const replaced of settings.replace) {
    if (folders.includes(resolve(replaced))) continue;
    faults.push(`ANYBUCKET_REPLACE names ${replaced}, which is not one of the data folders`);
  }
  if (settings.folders.length === 0) faults.push("ANYBUCKET_DATA names no folder");
  return faults;
}
