// Products of a matrix over GF(2⁸) with blocks of bytes: the inner loop of Reed–Solomon, in AssemblyScript.
//
// A product with a constant c is two table look-ups of 16 entries (c × low nibble, c × high nibble), which a
// byte shuffle does for 16 bytes at once. Indexes are always below 16, where the relaxed swizzle is defined
// to give what the strict one gives on every machine; it only saves the range check.
//
// Control area, written by kernel.ts:
//   0     16 addresses of inputs
//   64    8 addresses of outputs
//   128   8 rows of 16 coefficients
//   256   tables: 256 × (16 bytes for low nibbles, 16 for high ones)
// Lengths are rounded up to 64: up to 63 bytes past each output are overwritten, past each input read.

const INPUTS: usize = 0;
const OUTPUTS: usize = 64;
const MATRIX: usize = 128;
const TABLES: usize = 256;
/** With more rows than one pass takes, the inputs are taken in strips that stay in the first-level cache. */
const STRIP: i32 = 1024;
const ROWS_A_PASS: i32 = 4;

export function prepare(): void {
  for (let c: i32 = 0; c < 256; c++) {
    let table = TABLES + (<usize>c << 5);
    for (let nibble: i32 = 0; nibble < 16; nibble++) {
      store<u8>(table + nibble, times(c, nibble));
      store<u8>(table + nibble + 16, times(c, nibble << 4));
    }
  }
}

function times(left: i32, right: i32): i32 {
  let result = 0;
  for (let a = left, b = right; b != 0; b >>= 1) {
    if (b & 1) result ^= a;
    a <<= 1;
    if (a & 0x100) a ^= 0x11d;
  }
  return result;
}

/** outputs[i] = Σ matrix[i][j] × inputs[j]. */
export function multiply(rows: i32, columns: i32, length: i32): void {
  // The first parity row is all ones: a plain XOR.
  let sums = isSum(columns);
  let products = sums ? rows - 1 : rows;
  let strip = products > ROWS_A_PASS ? STRIP : length;
  for (let from: i32 = 0; from < length; from += strip) {
    let to = min(from + strip, length);
    let row: i32 = 0;
    if (sums) {
      let together = min(products, ROWS_A_PASS);
      if (together == 0) pass0(columns, from, to);
      else if (together == 1) pass1(0, columns, from, to, true);
      else if (together == 2) pass2(0, columns, from, to, true);
      else if (together == 3) pass3(0, columns, from, to, true);
      else pass4(0, columns, from, to, true);
      row = 1 + together;
    }
    while (row < rows) {
      let together = min(rows - row, ROWS_A_PASS);
      if (together == 1) pass1(row, columns, from, to, false);
      else if (together == 2) pass2(row, columns, from, to, false);
      else if (together == 3) pass3(row, columns, from, to, false);
      else pass4(row, columns, from, to, false);
      row += together;
    }
  }
}

function isSum(columns: i32): bool {
  for (let column: i32 = 0; column < columns; column++) {
    if (load<u8>(MATRIX + column) != 1) return false;
  }
  return true;
}

// One pass for each number of rows, since a sum must live in a register. `sum`: the row before is all ones.

@inline
function pass0(columns: i32, from: i32, to: i32): void {
  for (let position = from; position < to; position += 64) {
    let s0 = i8x16.splat(0), s1 = s0, s2 = s0, s3 = s0;
    for (let column: i32 = 0; column < columns; column++) {
      let input = inputAt(column) + position;
      let d0 = v128.load(input), d1 = v128.load(input, 16), d2 = v128.load(input, 32), d3 = v128.load(input, 48);
      s0 = v128.xor(s0, d0);
      s1 = v128.xor(s1, d1);
      s2 = v128.xor(s2, d2);
      s3 = v128.xor(s3, d3);
    }
    let output = outputAt(0) + position;
    v128.store(output, s0);
    v128.store(output, s1, 16);
    v128.store(output, s2, 32);
    v128.store(output, s3, 48);
  }
}

@inline
function pass1(row: i32, columns: i32, from: i32, to: i32, sum: bool): void {
  let first = row + i32(sum);
  for (let position = from; position < to; position += 64) {
    let s0 = i8x16.splat(0), s1 = s0, s2 = s0, s3 = s0;
    let p0 = s0, p1 = s0, p2 = s0, p3 = s0;
    for (let column: i32 = 0; column < columns; column++) {
      let input = inputAt(column) + position;
      let d0 = v128.load(input), d1 = v128.load(input, 16), d2 = v128.load(input, 32), d3 = v128.load(input, 48);
      if (sum) {
        s0 = v128.xor(s0, d0);
        s1 = v128.xor(s1, d1);
        s2 = v128.xor(s2, d2);
        s3 = v128.xor(s3, d3);
      }
      let l0 = low(d0), l1 = low(d1), l2 = low(d2), l3 = low(d3);
      let h0 = high(d0), h1 = high(d1), h2 = high(d2), h3 = high(d3);
      let table = tableAt(first, column);
      p0 = v128.xor(p0, times16(table, l0, h0));
      p1 = v128.xor(p1, times16(table, l1, h1));
      p2 = v128.xor(p2, times16(table, l2, h2));
      p3 = v128.xor(p3, times16(table, l3, h3));
    }
    if (sum) {
      let output = outputAt(row) + position;
      v128.store(output, s0);
      v128.store(output, s1, 16);
      v128.store(output, s2, 32);
      v128.store(output, s3, 48);
    }
    let output = outputAt(first) + position;
    v128.store(output, p0);
    v128.store(output, p1, 16);
    v128.store(output, p2, 32);
    v128.store(output, p3, 48);
  }
}

@inline
function pass2(row: i32, columns: i32, from: i32, to: i32, sum: bool): void {
  let first = row + i32(sum);
  for (let position = from; position < to; position += 64) {
    let s0 = i8x16.splat(0), s1 = s0, s2 = s0, s3 = s0;
    let p0 = s0, p1 = s0, p2 = s0, p3 = s0;
    let q0 = s0, q1 = s0, q2 = s0, q3 = s0;
    for (let column: i32 = 0; column < columns; column++) {
      let input = inputAt(column) + position;
      let d0 = v128.load(input), d1 = v128.load(input, 16), d2 = v128.load(input, 32), d3 = v128.load(input, 48);
      if (sum) {
        s0 = v128.xor(s0, d0);
        s1 = v128.xor(s1, d1);
        s2 = v128.xor(s2, d2);
        s3 = v128.xor(s3, d3);
      }
      let l0 = low(d0), l1 = low(d1), l2 = low(d2), l3 = low(d3);
      let h0 = high(d0), h1 = high(d1), h2 = high(d2), h3 = high(d3);
      let table = tableAt(first, column);
      p0 = v128.xor(p0, times16(table, l0, h0));
      p1 = v128.xor(p1, times16(table, l1, h1));
      p2 = v128.xor(p2, times16(table, l2, h2));
      p3 = v128.xor(p3, times16(table, l3, h3));
      table = tableAt(first + 1, column);
      q0 = v128.xor(q0, times16(table, l0, h0));
      q1 = v128.xor(q1, times16(table, l1, h1));
      q2 = v128.xor(q2, times16(table, l2, h2));
      q3 = v128.xor(q3, times16(table, l3, h3));
    }
    if (sum) {
      let output = outputAt(row) + position;
      v128.store(output, s0);
      v128.store(output, s1, 16);
      v128.store(output, s2, 32);
      v128.store(output, s3, 48);
    }
    let output = outputAt(first) + position;
    v128.store(output, p0);
    v128.store(output, p1, 16);
    v128.store(output, p2, 32);
    v128.store(output, p3, 48);
    output = outputAt(first + 1) + position;
    v128.store(output, q0);
    v128.store(output, q1, 16);
    v128.store(output, q2, 32);
    v128.store(output, q3, 48);
  }
}

@inline
function pass3(row: i32, columns: i32, from: i32, to: i32, sum: bool): void {
  let first = row + i32(sum);
  for (let position = from; position < to; position += 64) {
    let s0 = i8x16.splat(0), s1 = s0, s2 = s0, s3 = s0;
    let p0 = s0, p1 = s0, p2 = s0, p3 = s0;
    let q0 = s0, q1 = s0, q2 = s0, q3 = s0;
    let r0 = s0, r1 = s0, r2 = s0, r3 = s0;
    for (let column: i32 = 0; column < columns; column++) {
      let input = inputAt(column) + position;
      let d0 = v128.load(input), d1 = v128.load(input, 16), d2 = v128.load(input, 32), d3 = v128.load(input, 48);
      if (sum) {
        s0 = v128.xor(s0, d0);
        s1 = v128.xor(s1, d1);
        s2 = v128.xor(s2, d2);
        s3 = v128.xor(s3, d3);
      }
      let l0 = low(d0), l1 = low(d1), l2 = low(d2), l3 = low(d3);
      let h0 = high(d0), h1 = high(d1), h2 = high(d2), h3 = high(d3);
      let table = tableAt(first, column);
      p0 = v128.xor(p0, times16(table, l0, h0));
      p1 = v128.xor(p1, times16(table, l1, h1));
      p2 = v128.xor(p2, times16(table, l2, h2));
      p3 = v128.xor(p3, times16(table, l3, h3));
      table = tableAt(first + 1, column);
      q0 = v128.xor(q0, times16(table, l0, h0));
      q1 = v128.xor(q1, times16(table, l1, h1));
      q2 = v128.xor(q2, times16(table, l2, h2));
      q3 = v128.xor(q3, times16(table, l3, h3));
      table = tableAt(first + 2, column);
      r0 = v128.xor(r0, times16(table, l0, h0));
      r1 = v128.xor(r1, times16(table, l1, h1));
      r2 = v128.xor(r2, times16(table, l2, h2));
      r3 = v128.xor(r3, times16(table, l3, h3));
    }
    if (sum) {
      let output = outputAt(row) + position;
      v128.store(output, s0);
      v128.store(output, s1, 16);
      v128.store(output, s2, 32);
      v128.store(output, s3, 48);
    }
    let output = outputAt(first) + position;
    v128.store(output, p0);
    v128.store(output, p1, 16);
    v128.store(output, p2, 32);
    v128.store(output, p3, 48);
    output = outputAt(first + 1) + position;
    v128.store(output, q0);
    v128.store(output, q1, 16);
    v128.store(output, q2, 32);
    v128.store(output, q3, 48);
    output = outputAt(first + 2) + position;
    v128.store(output, r0);
    v128.store(output, r1, 16);
    v128.store(output, r2, 32);
    v128.store(output, r3, 48);
  }
}

@inline
function pass4(row: i32, columns: i32, from: i32, to: i32, sum: bool): void {
  let first = row + i32(sum);
  for (let position = from; position < to; position += 64) {
    let s0 = i8x16.splat(0), s1 = s0, s2 = s0, s3 = s0;
    let p0 = s0, p1 = s0, p2 = s0, p3 = s0;
    let q0 = s0, q1 = s0, q2 = s0, q3 = s0;
    let r0 = s0, r1 = s0, r2 = s0, r3 = s0;
    let t0 = s0, t1 = s0, t2 = s0, t3 = s0;
    for (let column: i32 = 0; column < columns; column++) {
      let input = inputAt(column) + position;
      let d0 = v128.load(input), d1 = v128.load(input, 16), d2 = v128.load(input, 32), d3 = v128.load(input, 48);
      if (sum) {
        s0 = v128.xor(s0, d0);
        s1 = v128.xor(s1, d1);
        s2 = v128.xor(s2, d2);
        s3 = v128.xor(s3, d3);
      }
      let l0 = low(d0), l1 = low(d1), l2 = low(d2), l3 = low(d3);
      let h0 = high(d0), h1 = high(d1), h2 = high(d2), h3 = high(d3);
      let table = tableAt(first, column);
      p0 = v128.xor(p0, times16(table, l0, h0));
      p1 = v128.xor(p1, times16(table, l1, h1));
      p2 = v128.xor(p2, times16(table, l2, h2));
      p3 = v128.xor(p3, times16(table, l3, h3));
      table = tableAt(first + 1, column);
      q0 = v128.xor(q0, times16(table, l0, h0));
      q1 = v128.xor(q1, times16(table, l1, h1));
      q2 = v128.xor(q2, times16(table, l2, h2));
      q3 = v128.xor(q3, times16(table, l3, h3));
      table = tableAt(first + 2, column);
      r0 = v128.xor(r0, times16(table, l0, h0));
      r1 = v128.xor(r1, times16(table, l1, h1));
      r2 = v128.xor(r2, times16(table, l2, h2));
      r3 = v128.xor(r3, times16(table, l3, h3));
      table = tableAt(first + 3, column);
      t0 = v128.xor(t0, times16(table, l0, h0));
      t1 = v128.xor(t1, times16(table, l1, h1));
      t2 = v128.xor(t2, times16(table, l2, h2));
      t3 = v128.xor(t3, times16(table, l3, h3));
    }
    if (sum) {
      let output = outputAt(row) + position;
      v128.store(output, s0);
      v128.store(output, s1, 16);
      v128.store(output, s2, 32);
      v128.store(output, s3, 48);
    }
    let output = outputAt(first) + position;
    v128.store(output, p0);
    v128.store(output, p1, 16);
    v128.store(output, p2, 32);
    v128.store(output, p3, 48);
    output = outputAt(first + 1) + position;
    v128.store(output, q0);
    v128.store(output, q1, 16);
    v128.store(output, q2, 32);
    v128.store(output, q3, 48);
    output = outputAt(first + 2) + position;
    v128.store(output, r0);
    v128.store(output, r1, 16);
    v128.store(output, r2, 32);
    v128.store(output, r3, 48);
    output = outputAt(first + 3) + position;
    v128.store(output, t0);
    v128.store(output, t1, 16);
    v128.store(output, t2, 32);
    v128.store(output, t3, 48);
  }
}

@inline
function inputAt(column: i32): usize {
  return load<usize>(INPUTS + (<usize>column << 2));
}

@inline
function tableAt(row: i32, column: i32): usize {
  return TABLES + (<usize>load<u8>(MATRIX + (<usize>row << 4) + column) << 5);
}

@inline
function low(bytes: v128): v128 {
  return v128.and(bytes, i8x16.splat(15));
}

@inline
function high(bytes: v128): v128 {
  return v128.and(i16x8.shr_u(bytes, 4), i8x16.splat(15));
}

@inline
function times16(table: usize, low: v128, high: v128): v128 {
  return v128.xor(
    i8x16.relaxed_swizzle(v128.load(table), low),
    i8x16.relaxed_swizzle(v128.load(table, 16), high),
  );
}

@inline
function outputAt(row: i32): usize {
  return load<usize>(OUTPUTS + (<usize>row << 2));
}
