/** @file The number of rows that a matrix product needs for each of them to have the bits that it has in any other. */

/**
 * In float32 on the CPU, MKL adds up fewer than 16 rows, and a last block of one to three, in another order than the rest;
 * where its blocks end depends on the number of threads. -> at least 16, and a multiple of 4
 */
export const steadyRows = (rows: number): number => Math.max(16, 4 * Math.ceil(rows / 4));
