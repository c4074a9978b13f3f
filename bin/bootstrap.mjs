/**
 * From a machine that has only Node and npm to the pinned runtime: installs what is missing, then goes on there.
 * Plain JavaScript and built-ins alone, so that any Node from 20 on can run it. Quick when nothing is missing.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const modules = path.join(root, 'node_modules');
const stampFile = path.join(modules, '.croupier-stamp');
const runtime = path.join(modules, '.bin', 'node');
const addon = path.join(modules, 'pkcs11js', 'build', 'Release', 'pkcs11.node');

const SOFTHSM_MODULES = [
  process.env.SOFTHSM2_MODULE ?? '',
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
];

const onPath = (program) =>
  (process.env.PATH ?? '')
    .split(path.delimiter)
    .some((folder) => folder !== '' && existsSync(path.join(folder, program)));

/** What each command needs of the system: how to see that it is there, and the Debian package that brings it. */
const COMPILER = [
  { present: () => onPath('g++'), packages: ['g++'] },
  { present: () => onPath('make'), packages: ['make'] },
  { present: () => onPath('python3'), packages: ['python3'] },
];
const HSM = [
  { present: () => SOFTHSM_MODULES.some((file) => file !== '' && existsSync(file)), packages: ['softhsm2'] },
];
const PEERS = [
  { present: () => onPath('openssl'), packages: ['openssl'] },
  { present: () => onPath('curl'), packages: ['curl'] },
  { present: () => onPath('pkcs11-tool'), packages: ['opensc'] },
  { present: () => existsSync('/usr/sbin/mosquitto'), packages: ['mosquitto'] },
  { present: () => onPath('mosquitto_pub'), packages: ['mosquitto-clients'] },
  {
    present: () =>
      onPath('pki') &&
      ['curl', 'openssl'].every((name) => existsSync(`/usr/lib/ipsec/plugins/libstrongswan-${name}.so`)),
    packages: ['strongswan-pki', 'libstrongswan-standard-plugins', 'libstrongswan-extra-plugins'],
  },
  { present: () => onPath('java') && onPath('javac'), packages: ['default-jdk-headless'] },
  { present: () => existsSync('/usr/share/java/bcpkix.jar'), packages: ['libbcpkix-java'] },
  { present: () => onPath('faketime'), packages: ['faketime'] },
  { present: () => onPath('jq'), packages: ['jq'] },
];

const COMMANDS = {
  start: { entry: ['simulator/start/main.ts'], needs: HSM },
  bench: { entry: ['simulator/bench/main.ts'], needs: HSM },
  test: {
    entry: ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/vitest.config.ts'],
    needs: [...HSM, ...PEERS],
  },
  setup: { entry: undefined, needs: [...HSM, ...PEERS] },
};

function fail(message, remedy) {
  process.stderr.write(`error: ${message}\nwhat to do: ${remedy}\n`);
  process.exit(1);
}

const say = (message) => process.stderr.write(`croupier: ${message}\n`);

/** Runs a program to its end; what it prints is shown only when it fails. */
function run(program, args, environment = {}) {
  const result = spawnSync(program, args, {
    cwd: root,
    env: { ...process.env, ...environment },
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.status === 0) return true;
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`);
  return false;
}

/** The words in front of apt-get that make it work here, or undefined. */
function privilege() {
  if (process.getuid?.() === 0) return [];
  return onPath('sudo') && spawnSync('sudo', ['-n', 'true']).status === 0 ? ['sudo', '-n'] : undefined;
}

function installPackages(needs) {
  const missing = needs.filter((need) => !need.present()).flatMap((need) => need.packages);
  if (missing.length === 0) return;
  const byHand = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (!onPath('apt-get'))
    fail(
      `this system lacks ${missing.join(', ')} and has no apt-get`,
      'install them with the package manager of this system, then run the command again',
    );
  const before = privilege();
  if (before === undefined)
    fail(`this system lacks ${missing.join(', ')}, and installing needs root`, `sudo sh -c '${byHand}'`);
  say(`installing ${missing.join(', ')}`);
  const [program, ...rest] = [...before, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get'];
  const update = run(program, [...rest, 'update', '-q']);
  if (!update || !run(program, [...rest, 'install', '-y', '-q', '--no-install-recommends', ...missing]))
    fail(`${missing.join(', ')} could not be installed`, `see above, then: ${byHand}`);
  const still = needs.filter((need) => !need.present()).flatMap((need) => need.packages);
  if (still.length > 0)
    fail(`${still.join(', ')} was installed and is still not found`, 'see where the package puts its files');
}

function npm(args, environment) {
  const script = process.env.npm_execpath;
  return script !== undefined && script.endsWith('.js')
    ? run(process.execPath, [script, ...args], environment)
    : run('npm', args, environment);
}

const stampNow = () =>
  createHash('sha256')
    .update(readFileSync(path.join(root, 'package-lock.json')))
    .digest('hex');

function installDependencies() {
  const stamp = stampNow();
  const current =
    existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp && existsSync(runtime) && existsSync(addon);
  if (current) return;
  say('installing dependencies');
  // Not `npm ci`: it refuses a lock file made where the registry lacks some other platform's optional binaries. Versions
  // come from the lock file either way.
  if (!npm(['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']))
    fail('the dependencies could not be installed', 'see above; npm must reach its registry');
  if (!existsSync(runtime))
    fail(`there is no pinned runtime for ${process.platform}-${process.arch}`, 'use Linux on x64 or arm64');
  installPackages(COMPILER);
  say('building the PKCS#11 binding');
  // The headers of the pinned runtime come with it, so that nothing has to be fetched for the build.
  const headers = path.join(path.dirname(realpathSync(runtime)), '..');
  if (!npm(['rebuild', 'pkcs11js', '--loglevel=error'], { npm_config_nodedir: headers }))
    fail('the PKCS#11 binding could not be built', 'see above; it needs g++, make and python3');
  writeFileSync(stampFile, stamp);
}

function continueOnRuntime(entry, args) {
  const child = spawn(realpathSync(runtime), [...entry, ...args], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '4',
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? path.join(modules, '.cache', 'compile'),
      PATH: `${path.join(modules, '.bin')}${path.delimiter}${process.env.PATH ?? ''}`,
    },
  });
  // A terminal sends its signals to the whole group; others send them here alone.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) =>
    fail(`the pinned runtime does not start: ${error.message}`, 'remove node_modules and run the command again'),
  );
  child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));
}

const [name = '', ...args] = process.argv.slice(2);
const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
if (command === undefined) fail(`there is no command ${name}`, `use one of ${Object.keys(COMMANDS).join(', ')}`);
if (Number(process.versions.node.split('.')[0]) < 20)
  fail(`Node ${process.versions.node} is too old`, 'install Node 20 or newer');
installDependencies();
installPackages(command.needs);
if (command.entry === undefined) say('everything is there');
else continueOnRuntime(command.entry, args);
