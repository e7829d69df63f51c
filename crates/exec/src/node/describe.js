// Describes the Node that runs it, and tells what that rests on: one line of JSON, the keys of `Portrait`.
'use strict';
const fs = require('fs');
const is = (path, kind) => {
  try {
    return fs.statSync(path)[kind]();
  } catch {
    return false;
  }
};
// Distributions keep some of Node's own modules, and its ICU data, outside of the executable.
const settings = Object.values(process.config.variables).filter((value) => typeof value === 'string');
const places = settings.filter((value) => /^\/.*\.(js|mjs|wasm|dat)$/.test(value));
// Where OpenSSL's configuration is, for each way in which it is built; Node does not tell its own.
const tls = ['/etc/ssl', '/usr/lib/ssl', '/etc/pki/tls', '/usr/local/ssl'].map((at) => at + '/openssl.cnf');
places.push(...tls);
const files = places.filter((path) => is(path, 'isFile'));
const modules = require('module').globalPaths;
const directories = modules.filter((path) => is(path, 'isDirectory'));
// Its shared objects are chosen by ld.so, and most of what it says may come from one of them (libnode).
const mapped = fs.readFileSync('/proc/self/maps', 'utf8').split('\n').map((line) => line.slice(line.indexOf('/')));
const objects = mapped.filter((path) => path.startsWith('/') && is(path, 'isFile'));
console.log(JSON.stringify({
  executable: fs.realpathSync(process.execPath),
  version: process.versions.node,
  data: [...new Set([...files, ...directories])],
  rests_on: [...new Set(['/etc/ld.so.cache', '/etc/ld.so.preload', ...objects, ...places, ...modules])],
}));
