import { driverContract } from './driver-contract.ts';
import { processHarness } from './process-harness.ts';
import { simulatedHarness } from './simulated-harness.ts';

driverContract('process', processHarness);
driverContract('simulated', simulatedHarness);
