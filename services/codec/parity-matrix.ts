/**
 * The matrix of the Reed–Solomon code. It is part of the format: changing one element would make every
 * object written before unreadable. README.md argues that any k of the n rows can be inverted.
 *
 * Element (i, j) is 1 / (xᵢ + yⱼ) with xᵢ = 16 + i and yⱼ = j, column j scaled by x₀ + yⱼ so that
 * parity 0 is the plain XOR of the data. It does not depend on k and m: a code uses the upper left corner.
 */
import { inverse, invert, type Matrix, multiply, product } from "#codec/gf256.ts";

const X = 16;

/** The m × k matrix that gives the parity blocks from the data blocks. */
export function parityMatrix(k: number, m: number): Matrix {
  return Array.from({ length: m }, (_, row) =>
    Uint8Array.from({ length: k }, (_element, column) =>
      multiply(X ^ column, inverse((X + row) ^ column)),
    ),
  );
}

/** The matrix that gives the wanted blocks from the k given ones; indexes below k are data. */
export function recoveryMatrix(
  { k, m }: { k: number; m: number },
  { given, wanted }: { given: readonly number[]; wanted: readonly number[] },
): Matrix {
  const generator = generatorMatrix(k, m);
  const rows = (indexes: readonly number[]) =>
    indexes.map((index) => generator[index] as Uint8Array);
  return product(rows(wanted), invert(rows(given)));
}

/** All n rows: the data blocks as they are, then the parity. */
function generatorMatrix(k: number, m: number): Matrix {
  const identity = Array.from({ length: k }, (_, index) => {
    const row = new Uint8Array(k);
    row[index] = 1;
    return row;
  });
  return [...identity, ...parityMatrix(k, m)];
}
