# Node: files, child processes, worker threads, timers, HTTP on the loopback interface.
cat >t.js <<'END'
const fs = require('fs'), cp = require('child_process'), http = require('http');
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (!isMainThread) { let s = 0; for (let i = 0; i < 1e6; i++) s += i; parentPort.postMessage(s); } else {
  (async () => {
    await fs.promises.writeFile('a', 'x'.repeat(1e6)); console.log((await fs.promises.stat('a')).size);
    fs.mkdirSync('d/e', { recursive: true }); fs.renameSync('a', 'd/e/b'); console.log(fs.readdirSync('d/e'));
    console.log(cp.execFileSync('tr', ['a-z', 'A-Z'], { input: 'sync' }).toString());
    console.log(await new Promise(r => cp.exec('exit 7', e => r(e.code))));
    console.log(await Promise.all([1, 2, 3].map(() => new Promise(r => new Worker(__filename).on('message', r)))));
    await new Promise(done => {
      const server = http.createServer((q, s) => s.end('url ' + q.url)).listen(0, '127.0.0.1', () => {
        http.get({ port: server.address().port, host: '127.0.0.1', path: '/p' }, m => {
          let t = ''; m.on('data', d => t += d).on('end', () => { console.log(m.statusCode, t); server.close(done); }); }); });
    });
    const t = Date.now(); setTimeout(() => console.log('timer', Date.now() - t >= 49), 50);
  })();
}
END
node t.js
