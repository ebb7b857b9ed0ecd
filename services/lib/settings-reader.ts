/**
 * Reads settings from flags and environment, flags first, and gathers every fault, so that an operator
 * sees all of them at once. The rows it records are what `--help` and `--print-config` print.
 */
import { readFileSync } from "node:fs";

export interface SettingRow {
  /** `ANYBUCKET_LISTEN`. */
  readonly variable: string;
  /** `--listen`. */
  readonly flag: string;
  readonly help: string;
  /** As text; secrets are shown as `***`. */
  readonly value: string;
  readonly fallback: string;
  /** Where it was read: its own name, a foreign one, a flag; undefined when nothing set it. */
  readonly source: string | undefined;
  /** Also read from the file that the variable with `_FILE` behind it names. */
  readonly hasFile: boolean;
}

export interface SettingSources {
  readonly prefix: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** By flag name without dashes. */
  readonly flags: Readonly<Record<string, string | undefined>>;
}

interface Options<T> {
  /** Foreign names that are read when ours is not set, in order: `MINIO_ROOT_USER`. */
  readonly aliases?: readonly string[];
  readonly isSecret?: boolean;
  readonly hasFile?: boolean;
  readonly parse: (text: string) => T;
}

export class SettingsReader {
  readonly #sources: SettingSources;
  readonly rows: SettingRow[] = [];
  readonly faults: string[] = [];

  constructor(sources: SettingSources) {
    this.#sources = sources;
  }

  /** `check` throws, saying what it must be, when it is not that. */
  text(
    name: string,
    fallback: string,
    help: string,
    aliases: readonly string[] = [],
    check: (text: string) => void = () => undefined,
  ): string {
    const parse = (text: string) => {
      check(text);
      return text;
    };
    return this.#read(name, fallback, help, { aliases, parse });
  }

  optional(name: string, help: string, aliases: readonly string[] = []): string | undefined {
    return this.#read<string | undefined>(name, undefined, help, {
      aliases,
      parse: (text) => text,
    });
  }

  /** As `optional`; also read from the file that NAME_FILE names. `check` throws, saying what it must be. */
  credential(
    name: string,
    help: string,
    options: {
      aliases: readonly string[];
      /** Never printed. */
      isSecret: boolean;
      check: (text: string) => void;
    },
  ): string | undefined {
    const { aliases, isSecret, check } = options;
    const parse = (text: string) => {
      check(text);
      return text;
    };
    return this.#read<string | undefined>(name, undefined, help, {
      aliases,
      isSecret,
      hasFile: true,
      parse,
    });
  }

  integer(
    name: string,
    fallback: number,
    help: string,
    bounds: { min: number; max: number } = { min: 0, max: Number.MAX_SAFE_INTEGER },
  ): number {
    return this.#read(name, fallback, help, {
      parse: (text) => {
        const value = Number(text);
        if (!/^\d+$/.test(text) || value < bounds.min || value > bounds.max) {
          throw new Error(`must be a whole number from ${bounds.min} to ${bounds.max}`);
        }
        return value;
      },
    });
  }

  boolean(name: string, fallback: boolean, help: string): boolean {
    return this.#read(name, fallback, help, {
      parse: (text) => {
        if (/^(1|true|yes|on)$/i.test(text)) return true;
        if (/^(0|false|no|off)$/i.test(text)) return false;
        throw new Error("must be true or false");
      },
    });
  }

  choice<T extends string>(name: string, choices: readonly T[], fallback: T, help: string): T {
    return this.#read(name, fallback, `${help} (${choices.join(", ")})`, {
      parse: (text) => {
        const choice = choices.find((each) => each === text);
        if (choice === undefined) throw new Error(`must be one of ${choices.join(", ")}`);
        return choice;
      },
    });
  }

  /** Comma separated; `check` throws when an item is not what it must be. */
  list(
    name: string,
    fallback: readonly string[],
    help: string,
    aliases: readonly string[] = [],
    check: (item: string) => void = () => undefined,
  ): readonly string[] {
    const parse = (text: string) => {
      const items = text.split(",").map((each) => each.trim());
      const named = items.filter((each) => each !== "");
      for (const item of named) check(item);
      return named;
    };
    return this.#read(name, fallback, help, { aliases, parse });
  }

  /** `15s`, `10m`, `24h`, `7d`; a bare number is seconds. Answers milliseconds. */
  duration(name: string, fallback: string, help: string): number {
    return this.#read(name, parseDuration(fallback), help, { parse: parseDuration }, fallback);
  }

  /** `128KiB`, `5GiB`; a bare number is bytes. */
  bytes(name: string, fallback: string, help: string): number {
    return this.#read(name, parseBytes(fallback), help, { parse: parseBytes }, fallback);
  }

  /** To be called last: variables with our prefix that no setting read are faults, with the nearest name. */
  refuseUnknown(): void {
    const known = this.rows.flatMap(({ variable, hasFile }) =>
      hasFile ? [variable, `${variable}_FILE`] : [variable],
    );
    for (const variable of Object.keys(this.#sources.environment)) {
      if (!variable.startsWith(this.#sources.prefix) || known.includes(variable)) continue;
      this.faults.push(`${variable} is not a setting; did you mean ${nearest(variable, known)}?`);
    }
    const flags = this.rows.map(({ flag }) => flag);
    for (const name of Object.keys(this.#sources.flags)) {
      if (flags.includes(`--${name}`)) continue;
      this.faults.push(`--${name} is not a setting; did you mean ${nearest(`--${name}`, flags)}?`);
    }
  }

  #read<T>(
    name: string,
    fallback: T,
    help: string,
    options: Options<T>,
    fallbackText = Array.isArray(fallback) ? fallback.join(",") : String(fallback ?? ""),
  ): T {
    const variable = `${this.#sources.prefix}${name}`;
    const flag = name.toLowerCase().replaceAll("_", "-");
    const found = this.#find({ variable, flag, options });
    let value = fallback;
    if (found !== undefined) {
      try {
        value = options.parse(found.text);
      } catch (error) {
        const shown = options.isSecret === true ? "***" : found.text;
        this.faults.push(`${found.source}=${shown}: ${(error as Error).message}`);
      }
    }
    const text = found?.text ?? fallbackText;
    this.rows.push({
      variable,
      flag: `--${flag}`,
      help,
      value: options.isSecret === true && text !== "" ? "***" : text,
      fallback: fallbackText,
      source: found?.source,
      hasFile: options.hasFile === true,
    });
    return value;
  }

  #find<T>({
    variable,
    flag,
    options,
  }: {
    variable: string;
    flag: string;
    options: Options<T>;
  }): { text: string; source: string } | undefined {
    const { environment, flags } = this.#sources;
    // Empty is as good as not set: that is how templates leave a setting out.
    const given = flags[flag] || undefined;
    if (given !== undefined) return { text: given, source: `--${flag}` };
    for (const name of [variable, ...(options.aliases ?? [])]) {
      const text = environment[name] || undefined;
      if (text !== undefined) return { text, source: name };
      const file = (options.hasFile === true && environment[`${name}_FILE`]) || undefined;
      if (file === undefined) continue;
      try {
        return { text: readFileSync(file, "utf8").trimEnd(), source: `${name}_FILE` };
      } catch (error) {
        this.faults.push(`${name}_FILE=${file}: ${(error as Error).message}`);
      }
    }
    return undefined;
  }
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  "": 1000,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)$/.exec(text);
  if (match === null) throw new Error("must be a duration such as 30s, 10m, 24h or 7d");
  return Number(match[1]) * (DURATION_UNITS[match[2] ?? ""] ?? 1000);
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB|TiB|)$/.exec(text);
  if (match === null) throw new Error("must be a size such as 128KiB, 64MiB or 5GiB");
  return Math.round(Number(match[1]) * (BYTE_UNITS[match[2] ?? ""] ?? 1));
}

/** The candidate with the smallest edit distance. */
export function nearest(word: string, candidates: readonly string[]): string {
  let best = candidates[0] ?? "";
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = editDistance({ from: word, to: candidate });
    if (distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best;
}

function editDistance({ from, to }: { from: string; to: string }): number {
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1] ? 0 : 1;
      current[column] = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + same,
      );
    }
    previous = current;
  }
  return previous[to.length] ?? 0;
}
