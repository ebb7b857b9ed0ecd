/** `:9000`, `127.0.0.1:9000`, `[::1]:9000` or `9000`: where to listen. */

export interface ListenAddress {
  /** undefined: every address of the machine. */
  readonly host: string | undefined;
  readonly port: number;
}

export function parseAddress(text: string): ListenAddress {
  const match = /^(?:(?:\[([^\]]+)\]|([^:]*)):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new Error("must be an address such as :9000, 127.0.0.1:9000 or [::1]:9000");
  }
  const host = match[1] ?? match[2] ?? "";
  return { host: host === "" || host === "0.0.0.0" || host === "*" ? undefined : host, port };
}

/** How a client on this machine reaches it. */
export function reachableUrl(address: ListenAddress, scheme: "http" | "https"): string {
  const host = address.host ?? "127.0.0.1";
  return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${address.port}`;
}
