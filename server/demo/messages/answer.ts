// The demo bot's words: canned, and obedient to the session's settings, so that one sees what a change does. Pure: chance
// comes from the caller. No model is asked, and the answer says so.
import type { JsonObject } from '../../../client-sdk/protocol/json.js';
import { valueAt } from '../settings/form-model.js';

/** An answer, and why it is no longer. */
export interface Answer {
  readonly text: string;
  readonly endedBy: 'end' | 'max_tokens' | 'stop';
  /** Words and spaces, as a model would stream them; their sum is `text`. */
  readonly tokens: readonly string[];
}

const openings = [
  'Here is what I was told for this turn.',
  'These are the settings I am working with.',
  'This turn, I go by the following.',
  'Let me show you what everyone agreed on.',
];
const wildOpenings = [
  'Settings, like violins, want tuning. Mine right now:',
  'Somewhere a slider moved, and here I am, differently.',
  'Ask me twice and I shall answer thrice. For now:',
];
const closings = [
  'Change something on the settings panel and ask again: the next answer follows.',
  'Open a second tab, move a slider there, and ask me once more.',
  'Whoever is in this session can change these, and all of you see it at once.',
];
/** Above this the bot gets playful. */
const WILD_TEMPERATURE = 1.2;

/** What the bot says to a message under these settings. With temperature 0 (or none) it says the same each time. */
export function answerTo(question: string, settings: JsonObject, random: () => number): Answer {
  const number = (name: string) => {
    const value = valueAt(settings, ['options', name]);
    return typeof value === 'number' ? value : undefined;
  };
  const temperature = number('temperature');
  const pick = (from: readonly string[]) => from[temperature ? Math.floor(random() * from.length) : 0] ?? '';
  const paragraphs = [
    `${pick((temperature ?? 0) > WILD_TEMPERATURE ? wildOpenings : openings)} You wrote “${shortened(question)}”.`,
    described(settings),
    pick(closings),
  ];
  return limited(paragraphs.join('\n\n'), number('max_tokens'), stopsOf(settings));
}

/** The settings in sentences, those that are set. */
function described(settings: JsonObject): string {
  const option = (name: string) => valueAt(settings, ['options', name]) ?? undefined;
  const { model, mode } = settings;
  const sentences = [`The model is ${text(model) ?? 'not chosen'}${text(mode) ? ` in ${text(mode)} mode` : ''}.`];
  const temperature = option('temperature');
  if (typeof temperature === 'number') {
    const manner =
      temperature === 0
        ? 'so I say the same each time'
        : temperature > WILD_TEMPERATURE
          ? 'so expect surprises'
          : 'so my words vary a little';
    sentences.push(`Temperature is ${temperature}, ${manner}.`);
  }
  const maxTokens = option('max_tokens');
  if (maxTokens !== undefined) sentences.push(`I may use ${text(maxTokens)} tokens at most.`);
  const prompt = option('system_prompt');
  if (typeof prompt === 'string' && prompt !== '') sentences.push(`My instructions begin with “${shortened(prompt)}”.`);
  const language = option('language');
  if (language !== undefined) sentences.push(`A real model would answer in ${text(language)}.`);
  return sentences.join(' ');
}

/** The text up to the limit of tokens or the first stop, whichever comes first. */
function limited(whole: string, maxTokens: number | undefined, stops: readonly string[]): Answer {
  const cuts = stops.map((stop) => whole.indexOf(stop)).filter((at) => at >= 0);
  const stopped = cuts.length > 0 ? whole.slice(0, Math.min(...cuts)) : whole;
  const tokens = stopped.match(/\s*\S+/g) ?? [];
  const isLong = maxTokens !== undefined && tokens.length > maxTokens;
  const kept = isLong ? tokens.slice(0, maxTokens) : tokens;
  const endedBy = isLong ? 'max_tokens' : cuts.length > 0 ? 'stop' : 'end';
  return { text: kept.join(''), tokens: kept, endedBy };
}

function stopsOf(settings: JsonObject): string[] {
  const stop = valueAt(settings, ['options', 'stop']);
  return [stop].flat().filter((item) => typeof item === 'string' && item !== '') as string[];
}

function text(value: unknown): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function shortened(words: string): string {
  const line = words.replaceAll(/\s+/g, ' ').trim();
  return line.length > 80 ? `${line.slice(0, 80)}…` : line;
}
