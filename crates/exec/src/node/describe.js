// Describes the Node that runs it: one line of JSON, the keys of `Node`.
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
const files = settings.filter((value) => /^\/.*\.(js|mjs|wasm|dat)$/.test(value) && is(value, 'isFile'));
// Where OpenSSL's configuration is, for each way in which it is built; Node does not tell its own.
const tls = ['/etc/ssl', '/usr/lib/ssl', '/etc/pki/tls', '/usr/local/ssl'].map((at) => at + '/openssl.cnf');
files.push(...tls.filter((path) => is(path, 'isFile')));
const directories = require('module').globalPaths.filter((path) => is(path, 'isDirectory'));
console.log(JSON.stringify({
  executable: fs.realpathSync(process.execPath),
  version: process.versions.node,
  data: [...new Set([...files, ...directories])],
}));
