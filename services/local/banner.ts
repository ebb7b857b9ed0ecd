/** The first screen: where the store is, what it keeps, and lines to paste. Secrets are shown on a terminal only. */
import type { Credentials } from "#local/credentials.ts";
import { quoted } from "#local/shell.ts";

export interface BannerFacts {
  readonly version: string;
  readonly s3: string;
  readonly admin: string;
  readonly folders: readonly string[];
  readonly codec: string;
  /** How many folders may be lost. */
  readonly mayLose: number;
  /** Of the placement map, those that are missing now included. */
  readonly disks: number;
  readonly workers: number;
  readonly region: string | undefined;
  readonly credentials: Credentials;
  readonly credentialsPath: string;
  readonly buckets: readonly string[];
  readonly notes: readonly string[];
  readonly isTerminal: boolean;
}

export function banner(facts: BannerFacts): string {
  const { credentials } = facts;
  const showsSecret = facts.isTerminal && credentials.origin !== "given";
  const region = facts.region ?? "us-east-1";
  const lines = [
    "",
    `  Anybucket ${facts.version}   one machine, ${facts.workers} ${facts.workers === 1 ? "process" : "processes"}`,
    `  S3       ${facts.s3}   region ${facts.region ?? "any"}, path style and *.localhost`,
    `  Admin    ${facts.admin}   /readyz /metrics /jobs`,
    `  Data     ${facts.folders.join(" ")}`,
    `  Kept as  ${facts.codec}: ${redundancy(facts)}`,
    `  Key      ${credentials.accessKey}   Secret ${showsSecret ? credentials.secretKey : secretPlace(facts)}`,
    ...(facts.buckets.length > 0 ? [`  Buckets  ${facts.buckets.join(" ")}`] : []),
    ...facts.notes.map((note) => `  Note     ${note}`),
    "",
    ...exportLines(facts, showsSecret, region),
    `  aws --endpoint-url ${facts.s3} s3 mb s3://my-bucket`,
    `  rclone lsd ':s3,provider=Other,env_auth=true,endpoint="${facts.s3}":'`,
    "",
  ];
  return `${lines.join("\n")}\n`;
}

function redundancy({ mayLose, folders, disks }: BannerFacts): string {
  const missing = disks - folders.length;
  if (missing > 0)
    return `any ${mayLose} of ${disks} folders may be lost, and ${missing} ARE MISSING`;
  if (mayLose > 0) return `any ${mayLose} of ${disks} folders may be lost`;
  return "ONE copy; the loss of this folder is the loss of the data. Give more folders to survive a disk";
}

function secretPlace({ credentials, credentialsPath }: BannerFacts): string {
  return credentials.origin === "given" ? "(as you set it)" : `in ${credentialsPath}`;
}

function exportLines(facts: BannerFacts, showsSecret: boolean, region: string): readonly string[] {
  const { accessKey, secretKey, origin } = facts.credentials;
  if (origin === "given") {
    return [
      `  export AWS_ACCESS_KEY_ID=${accessKey} AWS_SECRET_ACCESS_KEY=… AWS_DEFAULT_REGION=${region}`,
    ];
  }
  const secret = showsSecret
    ? secretKey
    : `$(sed -n 's/.*"secretKey": "\\(.*\\)".*/\\1/p' ${quoted(facts.credentialsPath)})`;
  return [
    `  export AWS_ACCESS_KEY_ID=${accessKey} AWS_SECRET_ACCESS_KEY=${secret} AWS_DEFAULT_REGION=${region}`,
  ];
}
