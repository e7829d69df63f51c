// Starts code that came by a descriptor, as Node would start a file of that name in the work directory.
'use strict';
// In a block: at the top, names would be the code's too.
{
  const fs = require('fs');
  const path = require('path');
  const Module = require('module');

  // What `node -e` adds to the global object, and a file does not see.
  // `crypto` is the web's, which a file sees, or where Node has not got that, the module.
  const kept = ['console', 'process'];
  if (globalThis.crypto !== require('crypto')) kept.push('crypto');
  const added = Module.builtinModules.filter((name) => !kept.includes(name));
  for (const name of [...added, 'module', 'exports', 'require', '__filename', '__dirname']) delete globalThis[name];
  process.execArgv = [];
  delete process._eval;

  // The descriptor, the lock and the name come before the code's own arguments.
  const [descriptor, lock, name] = process.argv.splice(1, 3);
  const file = path.join(process.cwd(), path.basename(name));
  process.argv.splice(1, 0, file);
  const bytes = fs.readFileSync(Number(descriptor));
  fs.closeSync(Number(descriptor));
  if (lock === 'body') {
    try {
      // Nobody has this number: it is a word to the supervisor, who answers when the policy is in force.
      process.kill(0x63616c6c, 0);
    } catch {
      fs.writeSync(2, 'callgate: nobody supervises this process: the code is not run\n');
      process.exit(125);
    }
  }
  const code = bytes.toString('utf8').replace(/^\uFEFF/, '');

  if (file.endsWith('.mjs')) {
    // A module has no other way in that touches no disk.
    import('data:text/javascript;base64,' + Buffer.from(code).toString('base64'));
  } else {
    const main = new Module(file, null);
    main.id = '.';
    main.filename = file;
    main.paths = Module._nodeModulePaths(path.dirname(file));
    process.mainModule = main;
    Module._cache[file] = main;
    main._compile(code, file);
    main.loaded = true;
  }
}
