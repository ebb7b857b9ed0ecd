/** The admin API as typed calls. */
import {
  API_ROOT,
  type GarbageAction,
  type GarbageChange,
  type GarbageView,
  type NodeAction,
  type NodeChange,
  type NodeChangeAnswer,
  type NodeList,
} from "#admin/node-api.ts";

export interface AdminClient {
  listNodes(): Promise<NodeList>;
  changeNode(id: string, action: NodeAction, change: NodeChange): Promise<NodeChangeAnswer>;
  garbage(): Promise<GarbageView>;
  changeGarbage(action: GarbageAction, change: GarbageChange): Promise<GarbageView>;
}

/** What the API refused, in its words. */
export class AdminRefused extends Error {
  override readonly name = "AdminRefused";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const ANSWER_MS = 40_000;

export function adminClient({ url, token }: { url: string; token: string }): AdminClient {
  const ask = async (path: string, body?: object): Promise<unknown> => {
    let response: Response;
    try {
      response = await fetch(`${url}${API_ROOT}/${path}`, {
        method: body === undefined ? "GET" : "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(ANSWER_MS),
      });
    } catch (error) {
      const { message, cause } = error as Error;
      throw new Error(`Cannot reach ${url}: ${(cause as Error | undefined)?.message ?? message}`, {
        cause: error,
      });
    }
    const text = await response.text();
    if (response.ok) return JSON.parse(text);
    throw new AdminRefused(response.status, refusalIn(text) ?? `${response.status} ${text.trim()}`);
  };
  return {
    listNodes: async () => (await ask("nodes")) as NodeList,
    changeNode: async (id, action, change) =>
      (await ask(`nodes/${encodeURIComponent(id)}/${action}`, change)) as NodeChangeAnswer,
    garbage: async () => (await ask("garbage")) as GarbageView,
    changeGarbage: async (action, change) =>
      (await ask(`garbage/${action}`, change)) as GarbageView,
  };
}

function refusalIn(text: string): string | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return typeof error === "string" ? error : undefined;
  } catch {
    return undefined;
  }
}
