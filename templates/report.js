'use strict';
// Search, sorting and pages of the tables. Rows are arrays of texts; all of them get onto the page as text.

const PAGE = 100;
const PRINTED = 1000;

function bytes(packed) {
  if (typeof Uint8Array.fromBase64 === 'function') {
    return Uint8Array.fromBase64(packed);
  }
  const text = atob(packed);
  const made = new Uint8Array(text.length);
  for (let n = 0; n < text.length; n += 1) {
    made[n] = text.charCodeAt(n);
  }
  return made;
}

async function unpack(packed) {
  const plain = new Blob([bytes(packed)]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return JSON.parse(await new Response(plain).text());
}

function element(name, text, properties) {
  const made = Object.assign(document.createElement(name), properties);
  made.textContent = text;
  return made;
}

function cell(text, look) {
  const td = element('td', look === 'tag' ? '' : text, { className: look });
  if (look === 'tag' && text !== '') {
    const tag = element('span', text);
    tag.dataset.tag = text;
    td.append(tag);
  }
  return td;
}

function number(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

class Table {
  constructor(section, rows) {
    const find = (selector) => section.querySelector(selector);
    Object.assign(this, { section, rows, page: 0, found: rows, order: null, words: null });
    [this.input, this.select, this.status] = ['input', 'select', '[role=status]'].map(find);
    [this.body, this.nav, this.tools] = ['tbody', '.pages', '.tools'].map(find);
    this.heads = [...section.querySelectorAll('thead th')];
    this.looks = this.heads.map((head) => head.dataset.look);
    this.tag = this.looks.indexOf('tag');
    this.offerChoices();
    this.offerSorting();
    this.tools.addEventListener('submit', (event) => event.preventDefault());
    // Before the first key: it takes longer than a key's search.
    this.input.addEventListener('focus', () => this.index());
    this.input.addEventListener('input', () => this.search());
    this.select.addEventListener('change', () => this.search());
    this.nav.addEventListener('click', (event) => this.turn(event.target));
    this.body.removeAttribute('class');
    find('.unscripted')?.remove();
    this.tools.hidden = false;
  }

  offerChoices() {
    const counts = new Map();
    this.rows.forEach((row) => counts.set(row[this.tag], (counts.get(row[this.tag]) ?? 0) + 1));
    const all = element('option', `all (${number(this.rows.length)})`, { value: '' });
    const named = [...counts].sort((one, other) => other[1] - one[1]);
    const options = named.map(([name, count]) => element('option', `${name} (${number(count)})`, { value: name }));
    this.select.replaceChildren(all, ...options);
  }

  offerSorting() {
    this.heads.forEach((head, column) => {
      const button = element('button', head.textContent, { type: 'button' });
      button.addEventListener('click', () => this.sort(column));
      head.replaceChildren(button);
    });
  }

  sort(column) {
    const falls = this.order?.column === column && !this.order.falls;
    this.order = { column, falls };
    this.heads.forEach((head) => head.removeAttribute('aria-sort'));
    this.heads[column].setAttribute('aria-sort', falls ? 'descending' : 'ascending');
    this.search();
  }

  sorted() {
    if (this.order === null) {
      return '';
    }
    const { column, falls } = this.order;
    return `, by ${this.heads[column].textContent}, ${falls ? 'falling' : 'rising'}`;
  }

  index() {
    this.words ??= this.rows.map((row) => row.join('\n').toLowerCase());
  }

  search() {
    const wanted = this.input.value.toLowerCase().split(/\s+/).filter((word) => word !== '');
    const chosen = this.select.value;
    if (wanted.length > 0) {
      this.index();
    }
    const fits = (row, n) =>
      (chosen === '' || row[this.tag] === chosen) && wanted.every((word) => this.words[n].includes(word));
    this.found = this.rows.filter(fits);
    if (this.order !== null) {
      const { column, falls } = this.order;
      const compare = this.looks[column] === 'number' ? (a, b) => a - b : (a, b) => (a < b ? -1 : Number(a > b));
      this.found.sort((one, other) => compare(one[column], other[column]) * (falls ? -1 : 1));
    }
    this.page = 0;
    this.show();
  }

  // A button without a page to go to keeps the focus, which a disabled one would lose.
  turn(button) {
    if (button.dataset.go !== undefined && button.ariaDisabled !== 'true') {
      this.page += Number(button.dataset.go);
      this.show();
      this.section.scrollIntoView();
    }
  }

  show(count = PAGE) {
    const from = this.page * PAGE;
    const rows = this.found.slice(from, from + count);
    const made = rows.map((row) => {
      const tr = document.createElement('tr');
      tr.append(...row.map((text, n) => cell(text, this.looks[n])));
      return tr;
    });
    this.body.replaceChildren(...made);
    const [total, to] = [this.found.length, from + rows.length];
    const range = total > rows.length ? `${number(from + 1)} to ${number(to)} of ` : '';
    this.status.textContent = total === 0 ? 'nothing found' : `${range}${number(total)} shown${this.sorted()}`;
    const [back, told, on] = this.nav.children;
    told.textContent = `page ${number(this.page + 1)} of ${number(Math.max(1, Math.ceil(total / PAGE)))}`;
    back.ariaDisabled = String(this.page === 0);
    on.ariaDisabled = String(to >= total);
    this.nav.hidden = total <= PAGE;
  }
}

async function start() {
  const tables = [];
  for (const section of document.querySelectorAll('[data-table]')) {
    tables.push(new Table(section, await unpack(section.querySelector('[data-rows]').textContent)));
  }
  // A search can be part of the address: #q=word.
  const asked = new URLSearchParams(location.hash.slice(1)).get('q') ?? '';
  for (const table of tables) {
    table.input.value = asked;
    table.search();
  }
  addEventListener('beforeprint', () => tables.forEach((table) => table.show(PRINTED)));
  addEventListener('afterprint', () => tables.forEach((table) => table.show()));
  document.documentElement.dataset.ready = 'yes';
}

// A browser too old to unpack shows the first rows, as without the script.
if (typeof DecompressionStream === 'function') {
  start();
}
