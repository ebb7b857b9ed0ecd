/** Who may sign requests: the first user, then those of the users' file, which is read again when the operator asks. */
import { readFile } from "node:fs/promises";
import type { User } from "#access/users.ts";
import { readUsersFile, UserTable } from "#access/users-file.ts";
import type { Logger } from "#lib/log.ts";
import { asOperatorFault, EXIT_CONFIGURATION } from "#local/operator-fault.ts";

export class LoadedUsers {
  readonly #first: User;
  readonly #path: string | undefined;
  readonly #log: Logger;
  #current: readonly User[] = [];

  private constructor(first: User, path: string | undefined, log: Logger) {
    this.#first = first;
    this.#path = path;
    this.#log = log;
  }

  static async open(first: User, path: string | undefined, log: Logger): Promise<LoadedUsers> {
    const users = new LoadedUsers(first, path, log);
    try {
      users.#current = await users.#read();
    } catch (error) {
      throw asOperatorFault(error, EXIT_CONFIGURATION);
    }
    return users;
  }

  get current(): readonly User[] {
    return this.#current;
  }

  /** Whether they were read; a file with a fault in it changes nothing. */
  async reload(): Promise<boolean> {
    try {
      this.#current = await this.#read();
      this.#log.info({ users: this.#current.length }, "Users reloaded");
      return true;
    } catch (error) {
      const reason = (error as Error).message;
      this.#log.error({ reason }, "Users not reloaded: the earlier ones stay");
      return false;
    }
  }

  async #read(): Promise<readonly User[]> {
    if (this.#path === undefined) return [this.#first];
    const users = [this.#first, ...(await readUsersFile(this.#path, readText))];
    // No two may share a key or an id, the first user included.
    void new UserTable(users);
    return users;
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new Error(`Cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
}
