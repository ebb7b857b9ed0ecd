/**
 * The program's story: read settings, prepare the machine or join the cluster, serve, drain. Each command loads what it needs
 * and no more: a container asks for its health every few seconds.
 */
import cluster from "node:cluster";
import { readFileSync } from "node:fs";
import { asOperatorFault, EXIT_FAULT, OperatorFault } from "#local/operator-fault.ts";

const { version } = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8"),
) as { version: string };

if (cluster.isWorker) {
  const { runWorker } = await import("#local/worker.ts");
  await runWorker();
} else if (process.argv[2] === "node" || process.argv[2] === "garbage") {
  const { runAdminCommand } = await import("#admin/cli.ts");
  const { argv, env: environment } = process;
  const { out, err, exitCode } = await runAdminCommand({ argv: argv.slice(2), environment });
  process.stdout.write(out);
  process.stderr.write(err);
  process.exitCode = exitCode;
} else if (process.argv[2] === "health") {
  const { askHealth } = await import("#health.ts");
  const { text, exitCode } = await askHealth(process.argv.slice(3), process.env);
  (exitCode === 0 ? process.stdout : process.stderr).write(text);
  process.exitCode = exitCode;
} else if (process.argv[2] === "probe") {
  const { runProbe } = await import("#probe.ts");
  const { argv, env: environment } = process;
  process.exitCode = await runProbe({ argv: argv.slice(3), environment, say: print });
} else {
  const { readCommandLine } = await import("#command-line.ts");
  const commandLine = readCommandLine(process.argv.slice(2), process.env, version);
  if (commandLine.kind === "print") {
    (commandLine.exitCode === 0 ? process.stdout : process.stderr).write(commandLine.text);
    process.exit(commandLine.exitCode);
  }
  try {
    const { role, settings } = commandLine;
    if (role === "all") {
      const { runMachine } = await import("#local/run.ts");
      await runMachine(settings, version);
    } else {
      const { runRole } = await import("#cluster/run.ts");
      await runRole(role, settings, version);
    }
    process.exit(0);
  } catch (error) {
    if (!(error instanceof OperatorFault)) {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    }
    const fault = asOperatorFault(error, EXIT_FAULT);
    process.stderr.write(`anybucket: ${fault.message}\n`);
    process.exit(fault.exitCode);
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
