// What an editor with yaml-language-server makes of a manifest that `init` wrote. Arguments: the folder with
// node_modules, and the manifest, beside which its modeline finds the schema. Fails unless a harmed manifest is
// complained of in the right line, the whole one is not, and keys are completed and described.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, manifest] = process.argv.slice(2);
const server = spawn(join(folder, 'node_modules/.bin/yaml-language-server'), ['--stdio'], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const patience = setTimeout(() => {
  console.error('yaml-language-server did not answer within a minute');
  server.kill();
  process.exit(1);
}, 60_000);

const waiting = new Map();
const told = [];
let heard = Buffer.alloc(0);
let last = 0;

function send(message) {
  const body = JSON.stringify({ jsonrpc: '2.0', ...message });
  server.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

function ask(method, params) {
  const id = ++last;
  send({ id, method, params });
  return new Promise((done) => waiting.set(id, done));
}

function take(message) {
  if (message.method === undefined) {
    waiting.get(message.id)?.(message.result);
  } else if (message.id !== undefined) {
    // Its settings, which are the default's.
    const items = message.params?.items?.map(() => null) ?? null;
    send({ id: message.id, result: items });
  } else if (message.method === 'textDocument/publishDiagnostics') {
    told.push(message.params);
    waiting.get('diagnostics')?.();
  }
}

server.stdout.on('data', (data) => {
  heard = Buffer.concat([heard, data]);
  for (;;) {
    const end = heard.indexOf('\r\n\r\n');
    const length = end < 0 ? NaN : Number(/Content-Length: (\d+)/i.exec(heard.subarray(0, end))[1]);
    if (!(heard.length >= end + 4 + length)) {
      return;
    }
    const body = heard.subarray(end + 4, end + 4 + length).toString();
    heard = heard.subarray(end + 4 + length);
    take(JSON.parse(body));
  }
});

let version = 0;
const path = resolve(manifest);
const uri = pathToFileURL(path).href;

// The text as opened, or as changed; resolves with what is said of it.
async function show(text) {
  told.length = 0;
  version += 1;
  const next = new Promise((done) => waiting.set('diagnostics', done));
  if (version === 1) {
    send({ method: 'textDocument/didOpen', params: { textDocument: { uri, languageId: 'yaml', version, text } } });
  } else {
    send({
      method: 'textDocument/didChange',
      params: { textDocument: { uri, version }, contentChanges: [{ text }] },
    });
  }
  await next;
  return told.at(-1).diagnostics.map((it) => `${it.range.start.line + 1}: ${it.message}`);
}

await ask('initialize', { processId: process.pid, rootUri: null, capabilities: { workspace: { configuration: true } } });
send({ method: 'initialized', params: {} });
const whole = readFileSync(path, 'utf8');
assert.deepEqual(await show(whole), [], 'what init writes is right');

const lines = whole.trimEnd().split('\n').length;
const wrong = await show(`${whole.trimEnd()}\nnmae: x\nlimits: {concurrency: many}\n`);
assert.ok(wrong.some((it) => it.startsWith(`${lines + 1}: `) && it.includes('nmae')), wrong.join('\n'));
assert.ok(wrong.some((it) => it.startsWith(`${lines + 2}: `) && /integer/.test(it)), wrong.join('\n'));

await show(`${whole.split('\n')[0]}\nversion: 1\nname: acme\nlimits:\n  \n`);
const asked = { textDocument: { uri }, position: { line: 4, character: 2 } };
const offered = await ask('textDocument/completion', asked);
const labels = (offered.items ?? offered).map((it) => it.label);
for (const key of ['writes_per_minute', 'max_failures', 'max_trusted', 'timeout']) {
  assert.ok(labels.includes(key), `${key} is not offered: ${labels}`);
}

await show(`${whole.split('\n')[0]}\nversion: 1\nname: acme\nlimits:\n  max_trusted: 1\n`);
const hover = await ask('textDocument/hover', { ...asked, position: { line: 4, character: 4 } });
assert.match(JSON.stringify(hover), /nothing is sent/, 'a key is described');

clearTimeout(patience);
server.kill();
console.log(`yaml-language-server: ${wrong.length} complaints, ${labels.length} keys offered, one described`);
