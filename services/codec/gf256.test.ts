import * as fc from "fast-check";
import { expect, test } from "vitest";
import { inverse, invert, multiply, product } from "#codec/gf256.ts";

const anyElement = fc.integer({ min: 0, max: 255 });

test("products are those of polynomials modulo 0x11d", () => {
  for (let left = 0; left < 256; left += 1) {
    for (let right = 0; right < 256; right += 1) {
      expect(multiply(left, right)).toBe(longProduct(left, right));
    }
  }
});

test("an element times its inverse is 1, and 0 has none", () => {
  for (let value = 1; value < 256; value += 1) expect(multiply(value, inverse(value))).toBe(1);
  expect(() => inverse(0)).toThrow("the divisor is 0");
});

test("a matrix times its inverse is the identity, unless its rows depend on each other", () => {
  const square = fc.integer({ min: 1, max: 6 }).chain((size) =>
    fc.array(fc.array(anyElement, { minLength: size, maxLength: size }), {
      minLength: size,
      maxLength: size,
    }),
  );
  fc.assert(
    fc.property(square, (rows) => {
      const matrix = rows.map((row) => Uint8Array.from(row));
      fc.pre(isInvertible(matrix));
      const identity = matrix.map((row, index) => row.map((_, at) => (index === at ? 1 : 0)));
      expect(product(matrix, invert(matrix))).toEqual(identity);
    }),
  );
  const twice = Uint8Array.of(3, 5);
  expect(() => invert([twice, twice])).toThrow("rows depend on each other");
});

/** By the determinant, expanded along the first row. */
function isInvertible(matrix: readonly Uint8Array[]): boolean {
  return determinant(matrix) !== 0;
}

function determinant([first, ...others]: readonly Uint8Array[]): number {
  if (!first) return 1;
  return first.reduce((sum, element, column) => {
    const minor = others.map((row) => row.filter((_, at) => at !== column));
    return sum ^ multiply(element, determinant(minor));
  }, 0);
}

function longProduct(left: number, right: number): number {
  let result = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    result = (result << 1) ^ (result & 0x80 ? 0x11d : 0);
    if ((right >> bit) & 1) result ^= left;
  }
  return result;
}
