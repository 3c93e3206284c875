import type { MessagePort } from 'node:worker_threads';

export declare const planted: MessagePort;
