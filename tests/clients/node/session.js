// A session of node-zookeeper-client. The servers are named by HOSTS; see ../run.py for what it says.
'use strict';
const assert = require('assert');
const zookeeper = require(process.env.MODULES + '/node-zookeeper-client');
const { CreateMode, Event, Exception, State } = zookeeper;

// What is called back once, as a promise.
const call = (target, method, ...rest) =>
    new Promise((resolve, reject) =>
        target[method](...rest, (error, ...results) => (error ? reject(error) : resolve(results))));

async function fails(code, promise) {
    const error = await promise.then(() => null, (error) => error);
    assert(error instanceof Exception && error.getCode() === code, `expected ${code}, found ${error}`);
}

const say = (what) => console.log(`- ${what}`);

async function connect() {
    const client = zookeeper.createClient(process.env.HOSTS, { sessionTimeout: 10000, retries: 3 });
    client.connect();
    await new Promise((resolve) => client.once('connected', resolve));
    return client;
}

async function main() {
    const client = await connect();

    say('versions');
    assert.strictEqual((await call(client, 'create', '/a', Buffer.from('one')))[0], '/a');
    await fails(Exception.NODE_EXISTS, call(client, 'create', '/a', Buffer.from('one')));
    assert.strictEqual((await call(client, 'setData', '/a', Buffer.from('two'), 0))[0].version, 1);
    await fails(Exception.BAD_VERSION, call(client, 'setData', '/a', Buffer.from('three'), 0));
    assert.strictEqual((await call(client, 'getData', '/a', () => {}))[0].toString(), 'two');
    await fails(Exception.NO_NODE, call(client, 'getData', '/nowhere', () => {}));

    say('sequences and ephemerals');
    const [ephemeral] = await call(client, 'create', '/a/n-', Buffer.from('e'), CreateMode.EPHEMERAL_SEQUENTIAL);
    assert.strictEqual(ephemeral, '/a/n-0000000000');
    const [stat] = await call(client, 'exists', ephemeral, () => {});
    assert.deepStrictEqual(stat.ephemeralOwner, client.getSessionId());
    await fails(Exception.NO_CHILDREN_FOR_EPHEMERALS, call(client, 'create', `${ephemeral}/x`, Buffer.from('')));
    await fails(Exception.NOT_EMPTY, call(client, 'remove', '/a', -1));

    say('transactions');
    await call(client.transaction().create('/t', Buffer.from('x')).setData('/t', Buffer.from('y'), 0).check('/a', 1),
        'commit');
    await fails(Exception.BAD_VERSION,
        call(client.transaction().remove('/t', 1).setData('/a', Buffer.from('y'), 7), 'commit'));
    assert.strictEqual((await call(client, 'getData', '/t', () => {}))[0].toString(), 'y');

    say('ACLs');
    const owner = await connect();
    owner.addAuthInfo('digest', Buffer.from('user:pass'));
    await call(owner, 'create', '/mine', Buffer.from('m'), zookeeper.ACL.CREATOR_ALL_ACL);
    await fails(Exception.NO_AUTH, call(client, 'setData', '/mine', Buffer.from('x'), -1));
    await fails(Exception.NO_AUTH, call(client, 'getData', '/mine', () => {}));
    assert.strictEqual((await call(owner, 'getData', '/mine', () => {}))[0].toString(), 'm');

    say('a watch and an ephemeral outlive the server');
    const events = [];
    let fired;
    const fires = new Promise((resolve) => { fired = resolve; });
    await call(client, 'getChildren', '/t', (event) => { events.push(event); fired(); });
    const session = client.getSessionId().toString('hex');
    const lost = new Promise((resolve) => client.once('disconnected', resolve));
    const back = lost.then(() => new Promise((resolve) => client.once('connected', resolve)));
    console.log(`KILL 0x${session}`);
    await back;
    assert.strictEqual(client.getState(), State.SYNC_CONNECTED);
    assert.strictEqual(client.getSessionId().toString('hex'), session);
    assert((await call(client, 'exists', ephemeral))[0], 'the ephemeral has gone');
    assert.strictEqual(events.length, 0);
    await call(owner, 'create', '/t/u', Buffer.from('x'));
    await fires;
    assert.strictEqual(events[0].getType(), Event.NODE_CHILDREN_CHANGED);
    assert.strictEqual(events[0].getPath(), '/t');

    say('the session ends, and its ephemerals with it');
    const gone = new Promise((resolve) => call(owner, 'exists', ephemeral, resolve));
    assert((await call(owner, 'exists', ephemeral))[0]);
    client.close();
    assert.strictEqual((await gone).getType(), Event.NODE_DELETED);
    owner.close();
    console.log('PASSED');
}

main().catch((error) => {
    console.log(`FAILED: ${error.stack}`);
    process.exit(1);
});
