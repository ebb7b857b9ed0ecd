/**
 * While a simulated event runs, and all that follows from it, real time and real chance are out of reach: whoever asks for them
 * gets an error, which names what would make runs differ. Between events the test runner has them as ever.
 */
import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";

export interface Forbidden extends Disposable {
  /** Runs, and waits until nothing is left to do. */
  step(run: () => void): Promise<void>;
}

const soon = globalThis.setImmediate;

/** `immediately` takes what code wants to do in the next turn of the event loop. */
export function forbidRealTime(immediately: (run: () => void) => void): Forbidden {
  let isInside = false;
  const undo: (() => void)[] = [];

  const forbid = (owner: object, name: string, instead?: (...given: never[]) => unknown) => {
    const real = Reflect.get(owner, name) as (...given: unknown[]) => unknown;
    const guarded = function (this: unknown, ...given: unknown[]): unknown {
      if (!isInside) return Reflect.apply(real, this, given);
      if (instead === undefined) throw new Error(`A simulation must not use ${name}`);
      return Reflect.apply(instead, this, given);
    };
    Reflect.set(owner, name, guarded);
    undo.push(() => Reflect.set(owner, name, real));
  };

  for (const name of ["setTimeout", "setInterval"]) forbid(globalThis, name);
  forbid(globalThis, "setImmediate", (run: (...given: unknown[]) => void, ...given: unknown[]) => {
    immediately(() => run(...given));
  });
  forbid(Date, "now");
  forbid(performance, "now");
  forbid(Math, "random");
  forbid(AbortSignal, "timeout");
  for (const name of ["randomFillSync", "randomBytes", "randomUUID"]) forbid(crypto, name);
  syncBuiltinESMExports();

  return {
    step: (run) => {
      isInside = true;
      run();
      // Every promise that can be settled has been by then.
      return new Promise((resolve) => {
        soon(() => {
          isInside = false;
          resolve();
        });
      });
    },
    [Symbol.dispose]: () => {
      for (const one of undo) one();
      syncBuiltinESMExports();
    },
  };
}
