/** Every setting: its name, its default, one line on it. Read once, at the start. */
import { availableParallelism } from "node:os";
import { isBucketName } from "#gateway/bucket-name.ts";
import { type SettingRow, type SettingSources, SettingsReader } from "#lib/settings-reader.ts";

export type Settings = Readonly<ReturnType<typeof declareSettings>>;

export const SETTINGS_PREFIX = "ANYBUCKET_";

/** What was read, a row for each setting, and every fault; no settings when there is a fault. */
export function readSettings(sources: Omit<SettingSources, "prefix">): {
  settings: Settings;
  rows: readonly SettingRow[];
  faults: readonly string[];
} {
  const reader = new SettingsReader({ prefix: SETTINGS_PREFIX, ...sources });
  const settings = declareSettings(reader);
  reader.refuseUnknown();
  const faults = [...reader.faults, ...contradictions(settings)];
  return { settings, rows: reader.rows, faults };
}

/** A setting earns its row when two sensible operators would set it differently. */
function declareSettings(read: SettingsReader) {
  return {
    folders: read.list("DATA", ["./data"], "Folders of data, one for each disk, comma separated", [
      "MINIO_VOLUMES",
    ]),
    address: read.text("ADDRESS", ":9000", "Address and port of the S3 API", ["MINIO_ADDRESS"]),
    adminAddress: read.text(
      "ADMIN_ADDRESS",
      ":9001",
      "Address and port of health and metrics; keep it inside your network",
      ["MINIO_CONSOLE_ADDRESS"],
    ),
    accessKey: read.optional("ACCESS_KEY", "Access key of the first user; generated when not set", [
      "AWS_ACCESS_KEY_ID",
      "MINIO_ROOT_USER",
      "MINIO_ACCESS_KEY",
    ]),
    secretKey: read.secret(
      "SECRET_KEY",
      "Secret key of the first user; also from the file that ANYBUCKET_SECRET_KEY_FILE names",
      ["AWS_SECRET_ACCESS_KEY", "MINIO_ROOT_PASSWORD", "MINIO_SECRET_KEY"],
    ),
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
      "Gateway processes; one a core by default",
      { min: 1, max: 256 },
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
  };
}

function checkBucketName(name: string): void {
  if (isBucketName(name)) return;
  throw new Error(
    `"${name}" is not a bucket name: those have 3 to 63 lower-case letters, digits, dots and hyphens`,
  );
}

function contradictions(settings: ReturnType<typeof declareSettings>): string[] {
  const faults: string[] = [];
  if ((settings.tlsCertFile === undefined) !== (settings.tlsKeyFile === undefined)) {
    faults.push("ANYBUCKET_TLS_CERT_FILE and ANYBUCKET_TLS_KEY_FILE go together");
  }
  if (settings.secretKey !== undefined && settings.accessKey === undefined) {
    faults.push("ANYBUCKET_SECRET_KEY is set without ANYBUCKET_ACCESS_KEY");
  }
  if (settings.accessKey !== undefined && settings.secretKey === undefined) {
    faults.push("ANYBUCKET_ACCESS_KEY is set without ANYBUCKET_SECRET_KEY");
  }
  if (settings.secretKey !== undefined && settings.secretKey.length < 8) {
    faults.push("ANYBUCKET_SECRET_KEY must have at least 8 characters");
  }
  if (settings.folders.length === 0) faults.push("ANYBUCKET_DATA names no folder");
  return faults;
}
