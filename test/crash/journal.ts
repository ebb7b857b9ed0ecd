/**
 * What a client knows of its writes: for each key the states that are allowed after a crash.
 *
 * An acknowledged write leaves exactly one allowed state; a write that got no answer, or a 5xx, adds its
 * own to those before it, and can never take effect after a later acknowledged one.
 */
import { createHash } from "node:crypto";

/** SHA-256 of the content, or that there is none. */
export type State = string;
export const ABSENT: State = "absent";

export class Journal {
  readonly #allowed = new Map<string, Set<State>>();
  /** Acknowledged versions of versioned keys: `key versionId` → state. */
  readonly #versions = new Map<string, State>();
  acknowledged = 0;
  unanswered = 0;

  keys(): readonly string[] {
    return [...this.#allowed.keys()];
  }

  allowed(key: string): ReadonlySet<State> {
    return this.#allowed.get(key) ?? new Set([ABSENT]);
  }

  versions(): ReadonlyMap<string, State> {
    return this.#versions;
  }

  /** To be called before the write is sent. */
  begin(key: string, state: State): Attempt {
    const before = this.allowed(key);
    this.#allowed.set(key, new Set([...before, state]));
    this.unanswered++;
    return {
      acknowledge: (versionId) => {
        this.#allowed.set(key, new Set([state]));
        this.unanswered--;
        this.acknowledged++;
        if (versionId !== undefined) this.#versions.set(`${key} ${versionId}`, state);
      },
      refuse: () => {
        this.#allowed.set(key, new Set(before));
        this.unanswered--;
      },
    };
  }

  /** What was seen is now the truth: an unanswered write that did not take effect never will. */
  settle(key: string, seen: State): void {
    this.#allowed.set(key, new Set([seen]));
  }
}

export interface Attempt {
  acknowledge(versionId?: string): void;
  /** The server said that nothing happened (a 4xx). */
  refuse(): void;
}

export function stateOf(content: Uint8Array): State {
  return createHash("sha256").update(content).digest("hex");
}
