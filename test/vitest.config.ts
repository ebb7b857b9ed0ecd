import { defineConfig } from "vitest/config";

/**
 * Tests beside their files that start processes or threads, or speak through sockets: half of all the time that those beside their
 * files take. `npm run check` leaves them to `npm test`.
 */
const WITH_PROCESSES = [
  "services/codec/wasm/build.test.ts",
  "services/metadata/etcd*.test.ts",
  "services/metadata/index-log.test.ts",
  "services/metadata/lmdb.test.ts",
  "services/shards/client.test.ts",
  "services/local/certificate.test.ts",
  "services/shards/renewed-certificates.test.ts",
  "services/shards/tls.test.ts",
  "services/storage/processes.test.ts",
];

/** Kinds of test, one project each; test/README.md says what each can and cannot show. */
export default defineConfig({
  test: {
    reporters: ["default"],
    projects: [
      {
        test: {
          name: "unit",
          include: ["services/**/*.test.ts", "test/*.test.ts"],
          exclude: WITH_PROCESSES,
          // Seconds at most on an idle machine.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "processes",
          include: WITH_PROCESSES,
          // They take many times their seconds on a busy machine.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "s3",
          include: ["test/s3/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "local",
          include: ["test/local/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "clients",
          include: ["test/clients/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "simulation",
          include: ["test/simulation/**/*.test.ts"],
          // Its length is what SIMULATION_MINUTES asks for.
          testTimeout: 3_600_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "etcd",
          include: ["test/etcd/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "s3-cluster",
          include: ["test/s3/**/*.test.ts"],
          // Folders that earlier versions wrote are one machine's.
          exclude: ["test/s3/kept-data.test.ts"],
          env: { ANYBUCKET_TEST_CLUSTER: "true" },
          testTimeout: 120_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "clients-cluster",
          include: ["test/clients/**/*.test.ts"],
          env: { ANYBUCKET_TEST_CLUSTER: "true" },
          testTimeout: 300_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "cluster-local",
          include: ["test/cluster-local/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "docker",
          include: ["test/docker/**/*.test.ts"],
          globalSetup: ["test/docker/set-up.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "cluster",
          include: ["test/cluster/**/*.test.ts"],
          globalSetup: ["test/docker/set-up.ts"],
          // Under ten minutes on a machine of its own; others may have it stand still for a while.
          testTimeout: 1_800_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          // Not in `npm test`: it takes a cluster, the one that KUBECONFIG names.
          name: "kubernetes",
          include: ["test/kubernetes/**/*.test.ts"],
          testTimeout: 1_800_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "helm",
          include: ["test/helm/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: "crash",
          include: ["test/crash/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
