/**
 * Accepts the connections of the S3 port in the supervising process and hands each to a gateway process. The port stays
 * open while a process is started again: what arrives then waits.
 *
 * A connection stays open here too until its process says that it has it, so that one that was on its way to a process that
 * died is closed, and its client does not wait for ever.
 */
import type { Worker } from "node:cluster";
import { createServer, type Server, type Socket } from "node:net";
import { type ListenAddress, parseAddress } from "#local/address.ts";
import { IdleProcessors } from "#local/idle-processors.ts";
import type { ToWorker } from "#local/messages.ts";
import { listenFault } from "#local/operator-fault.ts";
import { nextProcess, overload, type ProcessLoad, type Spread } from "#local/spread.ts";

/** Of connections that the kernel keeps, and of those that wait here while no process serves. */
const BACKLOG = 1024;
/**
 * Reports in a row, one a second, after which a process that is too busy gives connections up. One that has just begun is too busy
 * for three or four seconds, as V8 has not compiled its code yet, and what was shared out stays so.
 */
const OVERLOADS_MIN = 5;
/**
 * With fewer idle processors than this nothing is won by sharing out what one process does: on two a request costs half as much
 * again (4 KiB reads 431 µs against 257, 2,386 a second against 3,480, on two processors of which the load took the rest).
 */
const IDLE_PROCESSORS_MIN = 0.6;
/** A process that has not taken a connection for so long gets no other while there are processes that do. */
const SILENCE_MS = 250;
/** What a process said before it died has been read by then. */
const HEARD_MS = 500;

interface Handover {
  readonly socket: Socket;
  readonly sinceMs: number;
}

interface Door {
  readonly process: Worker;
  /** Not yet said to be taken; the oldest first. */
  readonly underWay: Handover[];
  load: ProcessLoad;
}

interface DoormanOptions {
  readonly address: string;
  readonly spread: Spread;
  readonly idleProcessors?: Pick<IdleProcessors, "sinceLast">;
}

export class Doorman {
  readonly #server: Server;
  readonly #address: string;
  readonly #spread: Spread;
  /** In the order in which the processes were started. */
  #doors: Door[] = [];
  readonly #waiting = new Set<Socket>();
  readonly #idleProcessors: Pick<IdleProcessors, "sinceLast">;
  #overloads = 0;

  constructor({ address, spread, idleProcessors = new IdleProcessors() }: DoormanOptions) {
    this.#address = address;
    this.#spread = spread;
    this.#idleProcessors = idleProcessors;
    // As node:http would have them: it keeps its side open for the answer when the client has closed its own.
    const options = { allowHalfOpen: true, noDelay: true, pauseOnConnect: true } as const;
    this.#server = createServer(options, (socket) => this.#admit(socket));
  }

  async listen(): Promise<void> {
    const address: ListenAddress = parseAddress(this.#address);
    const listening = Promise.withResolvers<void>();
    this.#server.once("error", listening.reject);
    this.#server.listen({ ...address, backlog: BACKLOG }, listening.resolve);
    try {
      await listening.promise;
    } catch (error) {
      throw listenFault(error as NodeJS.ErrnoException, {
        address: this.#address,
        flag: "--address",
      });
    }
  }

  /** Takes no more connections. */
  close(): void {
    this.#server.close();
    for (const socket of this.#waiting) socket.destroy();
    this.#waiting.clear();
  }

  /** The process serves from now on. */
  open(process: Worker): void {
    this.#doors.push({ process, underWay: [], load: { connections: 0, busy: 0 } });
    for (const socket of this.#waiting) {
      this.#waiting.delete(socket);
      this.#admit(socket);
    }
  }

  /** The process has ended. */
  shut(process: Worker): void {
    const door = this.#find(process);
    if (door === undefined) return;
    this.#doors = this.#doors.filter((each) => each !== door);
    setTimeout(() => {
      for (const { socket } of door.underWay) socket.destroy();
    }, HEARD_MS).unref();
  }

  /** The process has the connection that was handed to it first. */
  taken(process: Worker): void {
    // Our hold of it only: the process has its own.
    this.#find(process)?.underWay.shift()?.socket.destroy();
  }

  /** What a process measured over the last second; answers what is to be said to whom because of it. */
  report(process: Worker, load: ProcessLoad): void {
    const door = this.#find(process);
    if (door === undefined) return;
    door.load = { ...load, connections: load.connections + door.underWay.length };
    // Once a round: when the oldest reports.
    if (door !== this.#doors[0]) return;
    const found = overload(this.#doors.map((each) => each.load));
    this.#overloads = found === undefined ? 0 : this.#overloads + 1;
    if (found === undefined) return;
    const idle = this.#idleProcessors.sinceLast();
    if (this.#overloads < OVERLOADS_MIN) return;
    this.#overloads = 0;
    if (idle < IDLE_PROCESSORS_MIN) return;
    const busiest = this.#doors[found.place];
    if (busiest !== undefined) say(busiest, { kind: "shed", connections: found.connections });
  }

  #admit(socket: Socket): void {
    const doors = this.#takers();
    const loads = doors.map(({ load }) => load);
    const door = doors[nextProcess(loads, this.#spread)];
    if (door !== undefined) {
      this.#hand(socket, door);
    } else if (this.#waiting.size < BACKLOG) {
      this.#waiting.add(socket);
      socket.once("close", () => this.#waiting.delete(socket));
    } else {
      socket.destroy();
    }
  }

  #hand(socket: Socket, door: Door): void {
    door.underWay.push({ socket, sinceMs: performance.now() });
    door.load = { ...door.load, connections: door.load.connections + 1 };
    // A connection that its client has reset meanwhile is no fault of anybody's.
    socket.on("error", () => undefined);
    say(door, { kind: "connection" }, socket);
  }

  #takers(): readonly Door[] {
    const since = performance.now() - SILENCE_MS;
    const takers = this.#doors.filter(
      ({ underWay: [first] }) => (first?.sinceMs ?? since) >= since,
    );
    return takers.length > 0 ? takers : this.#doors;
  }

  #find(process: Worker): Door | undefined {
    return this.#doors.find((door) => door.process === process);
  }
}

/** A process that has just ended is told nothing; `shut` follows. */
function say({ process: { process } }: Door, message: ToWorker, socket?: Socket): void {
  if (process.connected) process.send(message, socket, { keepOpen: true }, () => undefined);
}
