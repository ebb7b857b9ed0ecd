import { expect, test } from "vitest";
import { multiply, product } from "#codec/gf256.ts";
import { parityMatrix, recoveryMatrix } from "#codec/parity-matrix.ts";
import { DATA_SHARDS_MAX, PARITY_SHARDS_MAX } from "#codec/storage-class.ts";

const LARGEST = parityMatrix(DATA_SHARDS_MAX, PARITY_SHARDS_MAX);

test("the matrix never changes, for it is the format", () => {
  expect(LARGEST.map((row) => Buffer.from(row).toString("hex"))).toEqual([
    "01010101010101010101010101010101",
    "73d959c13fe1674ddf91815482a12b4a",
    "9cb1ace599cddc7dab1c3ca097555c1a",
    "e95c9774abd5433c9cfe7eac7fdc99fc",
    "a6f92c8446d4267cbb3730a97b5e483b",
    "c746e260a69e24e6b41b837b80ebbb1d",
    "b4487b85bbcceb30a6fde62ce22646ff",
    "2ef8bb9b947b4233d7edaf46a6b721d6",
  ]);
});

test("a smaller code uses the upper left corner", () => {
  for (let k = 1; k <= DATA_SHARDS_MAX; k += 1) {
    for (let m = 1; m <= PARITY_SHARDS_MAX; m += 1) {
      const corner = LARGEST.slice(0, m).map((row) => row.slice(0, k));
      expect(parityMatrix(k, m)).toEqual(corner);
    }
  }
});

// Of a code k+m, losing data shards D with parity shards P left, |P| = |D|, can be made good exactly when the
// determinant of rows P and columns D is not 0. Any k and m are a corner of the largest matrix, so its
// 735,470 square submatrices are all erasure patterns of all codes.
test("every erasure pattern of every code has a solution", () => {
  const rowSets = 1 << PARITY_SHARDS_MAX;
  const columnSets = 1 << DATA_SHARDS_MAX;
  const size = bitCounts(columnSets);
  /** Determinants by rows and columns, each from those of one row fewer. */
  const determinants = new Uint8Array(rowSets * columnSets);
  determinants[0] = 1;
  let patterns = 0;
  let singular = 0;
  for (let rows = 1; rows < rowSets; rows += 1) {
    const firstRow = Math.log2(rows & -rows);
    const otherRows = (rows & (rows - 1)) * columnSets;
    for (let columns = 1; columns < columnSets; columns += 1) {
      if (size[columns] !== size[rows]) continue;
      let determinant = 0;
      for (let left = columns; left !== 0; left &= left - 1) {
        const column = 31 - Math.clz32(left & -left);
        const minor = determinants[otherRows + (columns ^ (1 << column))] ?? 0;
        determinant ^= multiply(LARGEST[firstRow]?.[column] ?? 0, minor);
      }
      determinants[rows * columnSets + columns] = determinant;
      patterns += 1;
      if (determinant === 0) singular += 1;
    }
  }
  expect({ patterns, singular }).toEqual({ patterns: 735_470, singular: 0 });
});

test("a recovery matrix gives lost rows from the given ones", () => {
  const shape = { k: 3, m: 2 };
  const generator = [...identity(3), ...parityMatrix(3, 2)];
  const recovery = recoveryMatrix(shape, { given: [1, 3, 4], wanted: [0, 2] });
  const given = [1, 3, 4].map((index) => generator[index] ?? new Uint8Array());
  expect(product(recovery, given)).toEqual([generator[0], generator[2]]);
});

function identity(size: number): Uint8Array[] {
  return Array.from({ length: size }, (_, index) =>
    Uint8Array.from({ length: size }, (_element, column) => (column === index ? 1 : 0)),
  );
}

function bitCounts(below: number): Uint8Array {
  const counts = new Uint8Array(below);
  for (let value = 1; value < below; value += 1) {
    counts[value] = (counts[value >> 1] ?? 0) + (value & 1);
  }
  return counts;
}
