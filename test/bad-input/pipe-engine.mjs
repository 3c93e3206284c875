/** An engine process that passes every byte on to the recorder of a test. Arguments: its port, the recorder's. */
import { connect, createServer } from 'node:net';
import process from 'node:process';

const [port, target] = process.argv.slice(2).map(Number);

function join(from, to) {
  from.setNoDelay(true);
  from.on('data', (piece) => to.write(piece));
  from.on('end', () => to.end());
  from.on('error', () => to.resetAndDestroy());
  from.on('close', () => to.destroySoon());
}

createServer({ allowHalfOpen: true }, (inner) => {
  const outer = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true });
  join(inner, outer);
  join(outer, inner);
}).listen(port, '127.0.0.1');
