/**
 * Arithmetic of GF(2⁸) with the polynomial x⁸ + x⁴ + x³ + x² + 1 (0x11d), in plain TypeScript: the
 * reference that the WebAssembly kernel is tested against, and what inverts the small matrices.
 * Addition is XOR.
 */

const POLYNOMIAL = 0x11d;

/** Powers of the generator 2, twice over so that a sum of two logarithms needs no modulo. */
const POWERS = new Uint8Array(510);
const LOGARITHMS = new Uint8Array(256);
for (let exponent = 0, power = 1; exponent < 255; exponent += 1) {
  POWERS[exponent] = power;
  POWERS[exponent + 255] = power;
  LOGARITHMS[power] = exponent;
  power <<= 1;
  if (power > 255) power ^= POLYNOMIAL;
}

export type Matrix = readonly Uint8Array[];

export function multiply(left: number, right: number): number {
  if (left === 0 || right === 0) return 0;
  return POWERS[at(LOGARITHMS, left) + at(LOGARITHMS, right)] as number;
}

export function inverse(element: number): number {
  if (element === 0) throw new Error("Cannot divide in GF(2⁸): the divisor is 0");
  return at(POWERS, 255 - at(LOGARITHMS, element));
}

/** The product of a matrix and a matrix. */
export function product(left: Matrix, right: Matrix): Matrix {
  return left.map((row) => {
    const sums = new Uint8Array(right[0]?.length ?? 0);
    row.forEach((coefficient, index) => addMultiple(sums, coefficient, right[index] as Uint8Array));
    return sums;
  });
}

/** The inverse of a square matrix, by Gauss and Jordan; throws when it has none. */
export function invert(matrix: Matrix): Matrix {
  const size = matrix.length;
  const rows: Uint8Array[] = matrix.map((row, index) => {
    const extended = new Uint8Array(size * 2);
    extended.set(row);
    extended[size + index] = 1;
    return extended;
  });
  for (let column = 0; column < size; column += 1) {
    const pivot = rows.findIndex((row, index) => index >= column && row[column] !== 0);
    if (pivot < 0) throw new Error("Cannot invert the matrix: its rows depend on each other");
    const row = rows[pivot] as Uint8Array;
    rows[pivot] = rows[column] as Uint8Array;
    rows[column] = row;
    const scale = inverse(at(row, column));
    row.forEach((element, index) => {
      row[index] = multiply(element, scale);
    });
    for (const other of rows) if (other !== row) addMultiple(other, at(other, column), row);
  }
  return rows.map((row) => row.subarray(size));
}

/** sums += coefficient × row, element by element: the whole of Reed–Solomon is made of this. */
export function addMultiple(sums: Uint8Array, coefficient: number, row: Uint8Array): void {
  if (coefficient === 0) return;
  for (let index = 0; index < row.length; index += 1) {
    sums[index] = at(sums, index) ^ multiply(coefficient, at(row, index));
  }
}

function at(bytes: Uint8Array, index: number): number {
  return bytes[index] as number;
}
