/** What the command line knows of a noun: its verbs. */
import type { Command } from "commander";
import type { AdminClient } from "#admin/client.ts";

export interface Noun {
  readonly description: string;
  readonly addTo: (frame: NounFrame) => void;
}

export interface NounFrame {
  /** A command with the options that all verbs have. */
  readonly verb: (usage: string, description: string) => Command;
  readonly client: (where: Where) => Promise<AdminClient>;
  readonly say: (text: string) => void;
}

/** Options of every verb. */
export interface Where {
  readonly adminAddress: string;
  readonly adminToken?: string;
  readonly json?: true;
}

/** For `--json`. */
export function printed(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
