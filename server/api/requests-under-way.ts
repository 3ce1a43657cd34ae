// Counts the HTTP requests that were taken and are not answered yet, for a server that leaves. It ends none of them.
import type { ServerResponse } from 'node:http';

export class RequestsUnderWay {
  private count = 0;
  private finished: () => void = () => undefined;

  /** To be called with the response of each request. */
  began(response: ServerResponse): void {
    this.count += 1;
    response.once('close', () => {
      this.count -= 1;
      if (this.count === 0) this.finished();
    });
  }

  /** Resolves as soon as none is under way. */
  async ended(): Promise<void> {
    if (this.count > 0) await new Promise<void>((resolve) => (this.finished = resolve));
  }
}
