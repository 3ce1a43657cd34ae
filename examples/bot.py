#!/usr/bin/env python3
# A chat bot in Python, with nothing of ours but the protocol: put your model into `answer`. Any number of copies may run:
# each message is answered by one of them, and an answer whose writer died is written by another. It never answers a bot.
# Debian: apt-get install python3-socketio python3-aiohttp. Start it with: python3 examples/bot.py SESSION... [--url URL] [--token TOKEN]
import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import re
import signal
import sys
import time
import traceback
import uuid

import socketio

WORD_S = 0.04  # pause between two words
QUOTED_CHARS = 1000  # of a message that the answer quotes
STORE_EVERY_S = 1  # how often what was said so far is stored; the single words are only shown
ANSWER_WITHIN_S = 5  # a call without an answer for so long is sent again
RECONNECT_S = 2  # at most, between two attempts to connect
STOP_WITHIN_S = 10  # how long a stop waits for answers under way


async def answer(settings, messages):
    """Your model goes here: yields the answer to the last message piece by piece."""
    options = settings.get('options', {})
    model, mode = settings.get('model', 'no model'), settings.get('mode', 'no mode')
    asked = json.dumps(messages[-1]['content'], ensure_ascii=False)[:QUOTED_CHARS]
    text = f'{model} as {mode} at temperature {options.get("temperature", 1)} read {asked} after {len(messages) - 1} messages.'
    words = text.split(' ')[: options.get('max_tokens', 500)]
    for n, word in enumerate(words):
        await asyncio.sleep(WORD_S)
        yield word if n == 0 else ' ' + word


def key_of(message_id):
    """Stands for a message in ids: itself where it fits into one of at most 128 characters, else its SHA-256 in hex."""
    fits = re.fullmatch('[!-~]{1,122}', message_id)
    return message_id if fits else hashlib.sha256(message_id.encode()).hexdigest()


class Refused(Exception):
    """A call that the server refused for good."""


class Bot:
    """The connection. What is asked for while there is none waits for the next one."""

    def __init__(self, args):
        self.args = args
        self.client_id = f'bot-{uuid.uuid4()}'
        self.rooms = {session_id: Room(self, session_id) for session_id in args.sessions}
        self.online = asyncio.Event()
        self.ended = asyncio.get_running_loop().create_future()
        self.working = {}  # what is under way, by sessions and questions
        self.is_stopping = False
        self.sio = socketio.AsyncClient(reconnection=False)
        # Handlers that are no coroutines run in the order in which things arrive.
        self.sio.on('*', self.receive)
        self.sio.on('disconnect', lambda *_: self.online.clear())
        self.sio.on('connect_error', self.refused)

    async def run(self):
        """Connects, again and again, until it is stopped; gives the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, lambda: asyncio.ensure_future(self.stop()))
        connecting = asyncio.ensure_future(self.stay_connected())
        status = await self.ended
        connecting.cancel()
        await self.sio.disconnect()
        return status

    async def stay_connected(self):
        while True:
            with contextlib.suppress(socketio.exceptions.SocketIOError):
                auth = {'clientId': self.client_id, 'kind': 'bot', 'protocol': 1}
                if self.args.token:
                    auth['token'] = self.args.token
                await self.sio.connect(self.args.url, auth=auth, transports=['websocket'], wait_timeout=ANSWER_WITHIN_S)
                self.online.set()
                for room in list(self.rooms.values()):
                    await room.join()
                await self.sio.wait()
            self.online.clear()
            await asyncio.sleep(random.uniform(0.1, RECONNECT_S))

    async def stop(self):
        if self.is_stopping:
            self.end(1)
        self.is_stopping = True
        if self.working:  # what is not done by then is taken over
            await asyncio.wait(self.working.values(), timeout=STOP_WITHIN_S)
        self.end(0)

    def end(self, status, why=None):
        if why:
            print(why, file=sys.stderr, flush=True)
        if not self.ended.done():
            self.ended.set_result(status)

    def deleted(self, session_id):
        print(f'{session_id} was deleted', file=sys.stderr, flush=True)
        if self.rooms.pop(session_id, None) and not self.rooms:
            asyncio.ensure_future(self.stop())

    def refused(self, error):
        refusal = error.get('data') if isinstance(error, dict) else None
        if refusal and refusal['retry'] not in ('after-delay', 'same-id'):
            self.end(1, refusal['message'])

    def receive(self, event, body=None):
        room = self.rooms.get((body or {}).get('sessionId'))
        if room and event == 'session:snapshot':
            room.snapshot(body['session'])
        elif room and 'revision' in body:
            room.commit(event, body)

    async def call(self, event, **request):
        """Sends until it is answered. A write has an updateId: it happens once, however often it is sent."""
        while True:
            await self.online.wait()
            try:
                reply = await self.sio.call(event, request, timeout=ANSWER_WITHIN_S)
            except socketio.exceptions.SocketIOError:
                await asyncio.sleep(0.1)
                continue
            if reply['ok']:
                return reply
            if reply['error']['retry'] not in ('after-delay', 'same-id'):
                raise Refused(f'{reply["error"]["code"]}: {reply["error"]["message"]}')
            await asyncio.sleep(reply['error'].get('retryAfterMs', 100) / 1000)

    def work(self, key, task):
        """Runs what is to be done under an id, unless it is under way."""
        if self.is_stopping or key in self.working:
            return

        async def run():
            try:
                await task()
            except Refused as refusal:
                print(f'{key}: {refusal}', file=sys.stderr, flush=True)
            finally:
                del self.working[key]

        self.working[key] = asyncio.ensure_future(run())


class Room:
    """One session: follows its commits, and answers."""

    def __init__(self, bot, session_id):
        self.bot = bot
        self.id = session_id
        self.cursor = None  # what was seen last
        self.settings = {}
        self.silences = {}

    async def join(self):
        request = {'sessionId': self.id, 'create': True, 'presence': {'name': 'Bot'}}
        if self.cursor:
            request['cursor'] = self.cursor
        # By a callback: what follows the answer must find it taken in.
        await self.bot.sio.emit('session:join', request, callback=self.joined)

    def joined(self, reply):
        if not reply['ok']:
            error = reply['error']
            if error['code'] == 'SESSION_NOT_FOUND':
                return self.bot.deleted(self.id)
            if error['retry'] not in ('after-delay', 'same-id'):
                return self.bot.end(1, f'{self.id}: {error["message"]}')
            return self.later(error.get('retryAfterMs', 100) / 1000, lambda: asyncio.ensure_future(self.join()))
        if not reply.get('resumed'):
            self.snapshot(reply['session'])
        for commit in reply.get('commits', []):
            self.commit(commit['event'], commit)
        print(f'answering in {self.id} as {self.bot.client_id}', flush=True)

    def snapshot(self, session):
        """At the start, and where too much was missed."""
        self.cursor = {'epoch': session['epoch'], 'revision': session['revision']}
        self.settings = session['settings']
        # Each by itself, for what one of them reads may be older than the next.
        self.work(f'what was missed before {session["epoch"]}:{session["revision"]}', self.catch_up)

    def commit(self, event, commit):
        self.cursor = {'epoch': commit['epoch'], 'revision': commit['revision']}
        if 'settings' in commit:
            self.settings = commit['settings']
        elif event == 'session:deleted':
            self.bot.deleted(self.id)
        elif 'message' in commit:
            # Commits come in their order: these are the settings that were in force when the message was written.
            self.see(commit['message'], event == 'message:added', self.settings)

    def see(self, message, is_asked, settings=None):
        if is_asked and message['role'] == 'user' and message['author']['kind'] != 'bot':
            self.work(message['id'], lambda: self.reply(message, settings))
        # Each sign of life puts the end of an answer's writer off.
        if message['id'] in self.silences:
            self.silences.pop(message['id']).cancel()
        if message['status'] == 'streaming' and 'inReplyTo' in message.get('metadata', {}):
            self.silences[message['id']] = self.later(self.bot.args.takeover_ms / 1000, lambda: self.silent(message))

    def silent(self, message):
        del self.silences[message['id']]
        if self.bot.online.is_set():
            self.work(message['metadata']['inReplyTo'], lambda: self.take_over(message))
        else:  # who is cut off hears of nobody
            self.see(message, False)

    async def catch_up(self):
        """Answers what nobody has answered since the newest answer."""
        messages = []
        for message in (await self.call('message:list'))['messages']:
            if message['role'] == 'assistant' and message['status'] != 'streaming':
                break
            messages.insert(0, message)
        taken = [message.get('metadata', {}).get('inReplyTo') for message in messages]
        for message in messages:
            self.see(message, message['id'] not in taken)

    async def reply(self, question, settings):
        # Every copy adds the same message under the same id: the first one's is added, and all are told whose it is.
        key = key_of(question['id'])
        message = {'id': f'reply-{key}', 'role': 'assistant', 'content': '', 'status': 'streaming'}
        message['metadata'] = {'inReplyTo': question['id']}
        reply = await self.call('message:add', message=message, updateId=f'reply:{key}')
        if reply.get('message', message).get('author', {}).get('clientId') == self.bot.client_id:
            await self.write(message['id'], question, settings)

    async def take_over(self, reply):
        messages = (await self.call('message:list'))['messages']
        question = next((one for one in messages if one['id'] == reply['metadata']['inReplyTo']), None)
        if question is None:
            return
        # Every copy waited for what follows this revision: the first to use this id has it, the others' change is another.
        metadata = {**reply['metadata'], 'takenOverBy': self.bot.client_id}
        update_id = key_of(f'{reply["id"]}:{reply["revision"]}')
        taken = await self.call('message:update', messageId=reply['id'], metadata=metadata, updateId=update_id)
        if taken['message']['status'] == 'streaming':
            await self.write(reply['id'], question)

    async def write(self, reply_id, question, settings=None):
        page = await self.call('message:list', before=question['revision'] + 1)
        if settings is None:
            history = await self.call('settings:history', before=question['settingsRevision'] + 1, limit=1)
            settings = history['versions'][0]['settings'] if history['versions'] else {}
        text, stored_at, status = '', time.monotonic(), 'complete'
        try:
            async for word in answer(settings, page['messages'][::-1]):
                await self.show(reply_id, text, word)
                text += word
                if time.monotonic() - stored_at >= STORE_EVERY_S:
                    await self.store(reply_id, content=text, status='streaming')
                    stored_at = time.monotonic()
        except Refused:
            raise  # it was deleted
        except Exception:
            traceback.print_exc()
            status = 'error'
        await self.store(reply_id, content=text, status=status)

    async def show(self, reply_id, before, word):
        """To those who look on: who misses a word has it with what is stored. `at` counts as JavaScript does."""
        data = {'messageId': reply_id, 'at': len(before.encode('utf-16-le')) // 2, 'text': word}
        with contextlib.suppress(socketio.exceptions.SocketIOError):
            await self.bot.sio.emit('signal', {'sessionId': self.id, 'type': 'token', 'data': data})

    async def store(self, reply_id, **change):
        await self.call('message:update', messageId=reply_id, updateId=str(uuid.uuid4()), **change)

    async def call(self, event, **request):
        return await self.bot.call(event, sessionId=self.id, **request)

    def work(self, what, task):
        self.bot.work(f'{self.id} {what}', task)

    def later(self, seconds, work):
        return asyncio.get_running_loop().call_later(seconds, work)


async def main():
    parser = argparse.ArgumentParser(description='Answers in chat sessions.')
    parser.add_argument('sessions', nargs='+', metavar='SESSION')
    parser.add_argument('--url', default=os.environ.get('ATTUNE_URL', 'http://127.0.0.1:4100'))
    parser.add_argument('--token', default=os.environ.get('BOT_TOKEN', ''))
    # Who wrote nothing for so long is given up: longer than your model ever thinks.
    parser.add_argument('--takeover-ms', type=int, default=20000)
    return await Bot(parser.parse_args()).run()


sys.exit(asyncio.run(main()))
