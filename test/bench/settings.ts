// The settings that the workloads change, and how a client changes them. Knows no workload and no server.

export type JsonObject = { [key: string]: unknown };

const systemPrompt = 'You are the maintenance assistant of a pumping station. Answer from the documents and cite them.';

/** Settings of about 300 bytes as JSON, the size that a chat application keeps per session. */
export const sampleSettings: JsonObject = {
  model: 'gpt-4',
  mode: 'assistant',
  options: {
    temperature: 0.7,
    top_p: 0.95,
    max_tokens: 2000,
    presence_penalty: 0.1,
    frequency_penalty: 0.2,
    stream: true,
    system_prompt: systemPrompt,
    language: 'en',
    verbosity: 'medium',
  },
};

const temperatureSteps = 20_001;

/** A temperature in 0..2 that differs from those of the 20,000 sequence numbers around it, so no update is a no-op. */
export function temperatureOf(sequence: number): number {
  return (sequence % temperatureSteps) / 10_000;
}

/** RFC 7396: objects are merged key by key, null removes, everything else replaces. `target` is left as it was. */
export function applyMergePatch(target: JsonObject, patch: JsonObject): JsonObject {
  const result: JsonObject = { ...target };
  for (const [key, value] of Object.entries(patch)) {
    const before = result[key];
    if (value === null) delete result[key];
    else if (isObject(value)) result[key] = applyMergePatch(isObject(before) ? before : {}, value);
    else result[key] = value;
  }
  return result;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
