/** One date of a version, in two spellings. */
import { describe, expect, test } from "vitest";
import { httpDate, isoDate, parseHttpDate, parseTimestamp } from "#gateway/dates.ts";

const INSTANT = Date.UTC(1994, 10, 6, 8, 49, 37);

describe("rule 21: one date of a version", () => {
  test("shows whole seconds in headers and in documents", () => {
    for (const ms of [INSTANT, INSTANT + 1, INSTANT + 999]) {
      expect(httpDate(ms)).toBe("Sun, 06 Nov 1994 08:49:37 GMT");
      expect(isoDate(ms)).toBe("1994-11-06T08:49:37.000Z");
    }
    expect(httpDate(INSTANT + 1000)).toBe("Sun, 06 Nov 1994 08:49:38 GMT");
    expect(isoDate(INSTANT - 1)).toBe("1994-11-06T08:49:36.000Z");
  });

  test("writes every second as JavaScript does, day after day and back", () => {
    for (let step = 0; step < 2000; step++) {
      const ms = (step % 2 === 0 ? 1 : -1) * step * step * 479_001_599;
      expect(httpDate(ms)).toBe(new Date(ms).toUTCString());
    }
  });

  test.each([
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
  ])("reads %s", (text) => {
    expect(parseHttpDate(text)).toBe(INSTANT);
  });

  test.each(["", "0", "1994", "yesterday", "Sun, 99 Nov 1994 08:49:37 GMT"])(
    "takes %j for no date",
    (text) => {
      expect(parseHttpDate(text)).toBeUndefined();
    },
  );

  test("reads timestamps of either kind", () => {
    expect(parseTimestamp("1994-11-06T08:49:37Z")).toBe(INSTANT);
    expect(parseTimestamp("1994-11-06T09:49:37.000+01:00")).toBe(INSTANT);
    expect(parseTimestamp(httpDate(INSTANT))).toBe(INSTANT);
    expect(parseTimestamp("1994-11-06")).toBeUndefined();
  });
});
