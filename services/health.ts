/**
 * `anybucket health [live | ready]`: asks the process that runs on this machine, so that a container's HEALTHCHECK needs
 * nothing else installed. Ready is the default: what depends on us waits for that.
 */
import { parseAddress, reachableUrl } from "#local/address.ts";
import { readSettings } from "#settings.ts";

const PATHS = { live: "/livez", ready: "/readyz" } as const;
/** A healthy process answers in a few milliseconds; whoever calls us has a time-out of his own above this. */
const ANSWER_MS = 4_000;

export interface HealthAnswer {
  readonly text: string;
  readonly exitCode: 0 | 1 | 2;
}

export async function askHealth(
  [what = "ready", ...rest]: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Promise<HealthAnswer> {
  if ((what !== "live" && what !== "ready") || rest.length > 0) {
    return { text: "anybucket: give health one word, live or ready\n", exitCode: 2 };
  }
  // The process has judged the settings as a whole; here one of them matters.
  const { settings } = readSettings({ environment, flags: {} });
  const url = `${reachableUrl(parseAddress(settings.adminAddress), "http")}${PATHS[what]}`;
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) });
    return { text: await answer.text(), exitCode: answer.ok ? 0 : 1 };
  } catch (error) {
    const { message, cause } = error as Error;
    const found = cause instanceof Error ? cause.message : message;
    return { text: `anybucket: Cannot ask ${url}: ${found}\n`, exitCode: 1 };
  }
}
