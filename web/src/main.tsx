/** The dashboard: one page, kept up to date by one stream of events. */
import { render } from 'preact';
import { App } from './app.tsx';
import { startLive } from './live.ts';
import { applyTheme } from './theme.ts';
import './style.css';
import './views.css';
import './configuration.css';

applyTheme();
const root = document.querySelector('#app');
if (root) render(<App />, root);
startLive();
