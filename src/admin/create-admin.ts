/** The control plane, ready to be mounted on one listener or two. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import type { Hono } from 'hono';
import { isLoopbackHost } from '../auth/addresses.ts';
import { gatewayError } from '../errors.ts';
import { createApp } from './app.ts';
import { controlOwns } from './control-paths.ts';
import type { OpenAnswers } from './open-answers.ts';
import type { AdminOptions } from './options.ts';
import { errorReply } from './reply.ts';
import { commandRoutes } from './routes/command.ts';
import { followingRoutes } from './routes/follow.ts';
import { reloadRoutes } from './routes/reload.ts';
import { observingRoutes } from './routes/observe.ts';
import type { Environment } from './routing.ts';

/** What a listener asks of the control plane. */
export interface ControlPaths {
  /** `path`: raw, without the query. */
  owns(path: string): boolean;
  /** Answers the request, whatever its method; never rejects. */
  handle(request: IncomingMessage, response: ServerResponse): void;
}

export interface Admin {
  readonly app: Hono<Environment>;
  /** For the listener of the data plane: everything, or with `admin_listen` what stays there. */
  readonly main: ControlPaths;
  /** For `admin_listen`. */
  readonly separate: ControlPaths;
  /** Ends open event streams, followed logs and waiting commands. */
  close(): void;
  /** Ends those of callers who may not have them any more. */
  accessChanged(): void;
}

export function createAdmin(options: AdminOptions): Admin {
  const startedAt = options.clock.monotonic();
  const open: OpenAnswers = new Map();
  const app = createApp(options, [
    ...observingRoutes(options, startedAt),
    ...followingRoutes(options, startedAt, open),
    ...commandRoutes(options, open),
    ...reloadRoutes(options),
  ]);
  const { listen, adminListen } = options.config().server;
  const handle = (host: string): ControlPaths['handle'] => requestListener(app, options, isLoopbackHost(host));
  return {
    app,
    main: {
      owns: controlOwns(adminListen !== null),
      handle: handle(listen.host),
    },
    separate: { owns: () => true, handle: handle((adminListen ?? listen).host) },
    close: () => {
      for (const end of open.keys()) end();
    },
    accessChanged: () => {
      for (const [end, allowed] of open) if (!allowed()) end();
    },
  };
}

function requestListener(
  app: Hono<Environment>,
  options: AdminOptions,
  loopbackListener: boolean,
): ControlPaths['handle'] {
  const { log } = options.telemetry;
  const listener = getRequestListener(
    (request, env) => {
      // The listener is HTTP/1.1 only; the adapter's type covers HTTP/2 too.
      const incoming = env.incoming as IncomingMessage;
      const { headers, rawHeaders, socket } = incoming;
      return app.fetch(request, { remoteAddress: socket.remoteAddress, headers, rawHeaders, loopbackListener });
    },
    {
      // HTTP/1.0 may come without a Host header.
      hostname: 'localhost',
      // Ours is one user of the process among several: its globals stay as they are.
      overrideGlobalObjects: false,
      errorHandler: (error) => {
        log.debug({ err: error }, 'a request to the control plane was malformed');
        return errorReply(gatewayError('invalid_body', 'The request target or the Host header is malformed.'));
      },
    },
  );
  return (request, response) => {
    listener(request, response).catch((error: unknown) => {
      log.error({ err: error }, 'an answer of the control plane broke off');
      response.destroy();
    });
  };
}
