/**
 * What a certificate says its owner is: one name for each role of the process, among the subject alternative names, in one
 * of two forms:
 *
 *     URI:anybucket://CLUSTER/ROLE/NAME
 *     DNS:NAME.ROLE.CLUSTER.anybucket.internal
 *
 * CLUSTER is the cluster's name, since certificates are there before the cluster has drawn its id, and NAME of a storage
 * node is its node id. The second form is for makers of certificates that write no URIs, Helm among them. It has three
 * labels before the suffix and no other number, so a CLUSTER or NAME with dots has none; a wildcard is no name; letters
 * count as they are, large or small. Under "internal" nobody but an authority of one's own gives names.
 */
import { X509Certificate } from "node:crypto";
import { ROLES, type Role } from "#shards/roles.ts";

export interface RoleName {
  readonly cluster: string;
  readonly role: Role;
  readonly name: string;
}

const URI = "URI:anybucket:";
const DNS = "DNS:";
const SUFFIX = ".anybucket.internal";
/** A name of ours (settings.ts) without dots. */
const LABEL = /^[A-Za-z0-9][\w-]{0,62}$/;

/** What the certificate says its owner is, in whatever cluster. */
export function roleNamesOf(certificate: X509Certificate): readonly RoleName[] {
  const all = certificate.subjectAltName ?? "";
  // Node quotes a name that could be taken for several; ours never need that, so whoever has one is up to something.
  if (all.includes('"')) return [];
  const entries = all.split(", ");
  const uris = entries.flatMap(nameInUri);
  const hosts = entries.flatMap(nameInHost);
  if (uris.length === 0) return hosts;
  // An authority that looks at one form only must not have signed somebody else in the other.
  return hosts.length === 0 || describe(uris) === describe(hosts) ? uris : [];
}

/** As `roleNamesOf`, of what a peer showed. */
export function roleNamesOfPeer(raw: Buffer | undefined): readonly RoleName[] {
  return raw === undefined ? [] : roleNamesOf(new X509Certificate(raw));
}

export function describe(names: readonly RoleName[]): string {
  if (names.length === 0) return "nobody of a cluster";
  const texts = names.map(({ cluster, role, name }) => `${cluster}/${role}/${name}`);
  return texts.toSorted().join(", ");
}

function nameInUri(entry: string): readonly RoleName[] {
  if (!entry.startsWith(URI)) return [];
  const [empty, nothing, cluster, role, name, ...rest] = entry.slice(URI.length).split("/");
  if (empty !== "" || nothing !== "" || rest.length > 0) return [];
  return known({ cluster, role, name });
}

function nameInHost(entry: string): readonly RoleName[] {
  if (!entry.startsWith(DNS) || !entry.endsWith(SUFFIX)) return [];
  const [name, role, cluster, ...rest] = entry.slice(DNS.length, -SUFFIX.length).split(".");
  const isName = LABEL.test(name ?? "") && LABEL.test(cluster ?? "");
  return isName && rest.length === 0 ? known({ cluster, role, name }) : [];
}

function known({
  cluster,
  role: text,
  name,
}: Record<"cluster" | "role" | "name", string | undefined>): readonly RoleName[] {
  const role = ROLES.find((one) => one === text);
  return role && cluster && name ? [{ cluster, role, name }] : [];
}
