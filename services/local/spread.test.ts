import { describe, expect, test } from "vitest";
import { nextProcess, overload, type ProcessLoad } from "#local/spread.ts";

function load(connections: number, busy: number): ProcessLoad {
  return { connections, busy };
}

describe("packed", () => {
  test("connections go to the oldest process until it is busy", () => {
    expect(nextProcess([load(0, 0), load(0, 0)], "packed")).toBe(0);
    expect(nextProcess([load(63, 0.6), load(0, 0)], "packed")).toBe(0);
    expect(nextProcess([load(16, 0.75), load(0, 0), load(0, 0)], "packed")).toBe(1);
  });

  test("a crowd that comes before the first report is shared once the oldest process has its part", () => {
    const loads = [load(0, 0), load(0, 0)];
    for (let arrived = 0; arrived < 256; arrived++) {
      const place = nextProcess(loads, "packed");
      const { connections, busy } = loads[place] as ProcessLoad;
      loads[place] = load(connections + 1, busy);
    }
    expect(loads.map(({ connections }) => connections)).toEqual([128, 128]);
  });

  test("when all are busy the one with fewest connections gets it", () => {
    expect(nextProcess([load(9, 1), load(7, 0.9), load(8, 0.95)], "packed")).toBe(1);
  });
});

test("even: the one with fewest connections gets it, however idle another is", () => {
  expect(nextProcess([load(3, 0), load(2, 1)], "even")).toBe(1);
  expect(nextProcess([load(2, 0), load(2, 0)], "even")).toBe(0);
});

test("with no process there is none to choose", () => {
  expect(nextProcess([], "packed")).toBe(-1);
  expect(nextProcess([], "even")).toBe(-1);
  expect(overload([])).toBeUndefined();
});

describe("a process that is too busy", () => {
  test("gives up half of what it has more than the idlest", () => {
    expect(overload([load(16, 0.97), load(0, 0.1)])).toEqual({ place: 0, connections: 8 });
    expect(overload([load(2, 0.5), load(3, 0.2), load(20, 1)])).toEqual({
      place: 2,
      connections: 8,
    });
  });

  test("keeps all while the others are as busy, or have as many", () => {
    expect(overload([load(16, 0.97), load(0, 0.8)])).toBeUndefined();
    expect(overload([load(4, 0.97), load(4, 0.1)])).toBeUndefined();
    expect(overload([load(1, 1), load(0, 0)])).toBeUndefined();
  });

  test("is none below nine tenths of its time", () => {
    expect(overload([load(16, 0.85), load(0, 0)])).toBeUndefined();
  });
});
