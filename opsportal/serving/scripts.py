"""The Lua scripts that write the serving store. Each is one atomic step, declares all its keys, and
keeps the head's counts and digest in the same step as the entries.

The digest is the XOR, over all entries with rules, of the first 64 bits of sha1(kind NUL key NUL value):
it depends neither on order nor on history. `base` is the revision of the last rebuild, which
leaves tombstones out: an absent key counts as written at `base`, so a late older write cannot
bring it back. Numbers stay far below 2^53, where Lua's doubles stop counting.
"""

_LIBRARY = r"""
local COUNTS = {p = {'products', 'product_fields'}, c = {'customers', 'customer_fields'},
  t = {'thresholds', 'threshold_fields'}}
-- Where the hash of a kind stands among the keys, behind its head.
local PLACE = {p = 1, c = 2, t = 3}

local function revision_of(value)
  return tonumber(string.match(value, '^(%d+)|')) or -1
end

local function has_rules(value)
  local bar = string.find(value, '|', 1, true)
  return not bar or bar < #value
end

local function toggle(head, kind, key, value)
  local hex = redis.sha1hex(kind .. '\0' .. key .. '\0' .. value)
  head.high = bit.bxor(head.high, tonumber(string.sub(hex, 1, 8), 16))
  head.low = bit.bxor(head.low, tonumber(string.sub(hex, 9, 16), 16))
end

local function load_head(key)
  local fields = redis.call('HMGET', key, 'epoch', 'revision', 'base', 'digest',
    'products', 'product_fields', 'customers', 'customer_fields', 'thresholds', 'threshold_fields')
  if not fields[1] then return nil end
  local digest = fields[4] or ''
  return {
    epoch = fields[1], revision = tonumber(fields[2]) or 0, base = tonumber(fields[3]) or 0,
    high = tonumber(string.sub(digest, 1, 8), 16) or 0, low = tonumber(string.sub(digest, 9, 16), 16) or 0,
    products = tonumber(fields[5]) or 0, product_fields = tonumber(fields[6]) or 0,
    customers = tonumber(fields[7]) or 0, customer_fields = tonumber(fields[8]) or 0,
    thresholds = tonumber(fields[9]) or 0, threshold_fields = tonumber(fields[10]) or 0,
  }
end

local function clock()
  local time = redis.call('TIME')
  return string.format('%d.%06d', time[1], time[2])
end

local function save_head(key, head)
  redis.call('HSET', key, 'revision', string.format('%.0f', head.revision),
    'products', head.products, 'product_fields', head.product_fields,
    'customers', head.customers, 'customer_fields', head.customer_fields,
    'thresholds', head.thresholds, 'threshold_fields', head.threshold_fields,
    'digest', bit.tohex(head.high) .. bit.tohex(head.low), 'heartbeat_at', clock())
end

local function answer(status, head, applied)
  return {status, string.format('%.0f', head.revision), head.products, head.customers,
    head.thresholds, bit.tohex(head.high) .. bit.tohex(head.low), applied}
end

-- Write one entry unless the store already holds it at this revision or a newer one.
local function apply(head, hash, kind, key, value)
  local old = redis.call('HGET', hash, key)
  local held = head.base
  if old then held = revision_of(old) end
  if revision_of(value) <= held then return false end
  local counts = COUNTS[kind]
  if not old then
    head[counts[2]] = head[counts[2]] + 1
  elseif has_rules(old) then
    head[counts[1]] = head[counts[1]] - 1
    toggle(head, kind, key, old)
  end
  if has_rules(value) then
    head[counts[1]] = head[counts[1]] + 1
    toggle(head, kind, key, value)
  end
  redis.call('HSET', hash, key, value)
  return true
end

local function write_log(log, length, kind, key, value)
  redis.call('XADD', log, 'MAXLEN', '~', length, '*', 'revision', string.match(value, '^%d*'),
    'kind', kind, 'key', key, 'value', string.match(value, '|(.*)$') or '')
end
"""

# KEYS head p c t log · ARGV epoch, revision to raise to or '', length of the log or '' for none,
# seconds to live or '' for ever, then kind, key, value …
PUSH = (
    _LIBRARY
    + r"""
local head = load_head(KEYS[1])
if not head then return {'absent'} end
if head.epoch ~= ARGV[1] then return {'epoch', head.epoch} end
local applied = 0
for i = 5, #ARGV, 3 do
  local kind, key, value = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if apply(head, KEYS[1 + PLACE[kind]], kind, key, value) then
    applied = applied + 1
    if ARGV[3] ~= '' then write_log(KEYS[5], ARGV[3], kind, key, value) end
  end
end
if ARGV[2] ~= '' then head.revision = math.max(head.revision, tonumber(ARGV[2])) end
save_head(KEYS[1], head)
if ARGV[4] ~= '' then
  for i = 1, 4 do redis.call('EXPIRE', KEYS[i], ARGV[4]) end
end
return answer('ok', head, applied)
"""
)

# KEYS head p c t log, staging head p c t · ARGV id of the last log entry the staging covers, most
# entries to replay, '1' to overwrite a head that cannot be read, source, length of the log
SWAP = (
    _LIBRARY
    + r"""
local stage = load_head(KEYS[6])
if not stage then return {'lost'} end
local current = ARGV[3] ~= '1' and load_head(KEYS[1])
local replayed = 0
stage.base = stage.revision
if current then
  local new, old = tonumber(stage.epoch), tonumber(current.epoch) or 0
  if old > new then return {'epoch', current.epoch} end
  if old == new then
    -- What was pushed while the staging was filled must survive the swap.
    local entries = redis.call('XRANGE', KEYS[5], '(' .. ARGV[1], '+', 'COUNT', tonumber(ARGV[2]) + 1)
    if #entries > tonumber(ARGV[2]) then return {'behind'} end
    for _, entry in ipairs(entries) do
      local field = {}
      for i = 1, #entry[2], 2 do field[entry[2][i]] = entry[2][i + 1] end
      if field.op then return {'behind'} end
      local hash = KEYS[6 + PLACE[field.kind]]
      if apply(stage, hash, field.kind, field.key, field.revision .. '|' .. field.value) then
        replayed = replayed + 1
      end
    end
    stage.revision = math.max(stage.revision, current.revision)
  end
end
for i = 2, 4 do
  redis.call('UNLINK', KEYS[i])
  if redis.call('EXISTS', KEYS[i + 5]) == 1 then
    redis.call('RENAME', KEYS[i + 5], KEYS[i])
    -- RENAME carries the time to live along, and the live list would expire.
    redis.call('PERSIST', KEYS[i])
  end
end
redis.call('UNLINK', KEYS[1])
redis.call('RENAME', KEYS[6], KEYS[1])
redis.call('PERSIST', KEYS[1])
save_head(KEYS[1], stage)
redis.call('HSET', KEYS[1], 'base', string.format('%.0f', stage.base), 'source', ARGV[4], 'built_at', clock())
if redis.call('TYPE', KEYS[5]).ok ~= 'stream' then redis.call('UNLINK', KEYS[5]) end
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[5], '*', 'op', 'swap', 'epoch', stage.epoch,
  'revision', string.format('%.0f', stage.revision))
return answer('ok', stage, replayed)
"""
)

# KEYS head · ARGV epoch, source
BEAT = (
    _LIBRARY
    + r"""
local held = redis.call('HMGET', KEYS[1], 'epoch', 'source')
if held[1] == ARGV[1] and held[2] == ARGV[2] then
  redis.call('HSET', KEYS[1], 'heartbeat_at', clock())
end
return redis.call('HGETALL', KEYS[1])
"""
)

# Put back what somebody else changed. The head's counts and digest already speak of the wanted
# value, so they stay. A value that has changed since it was looked at is left alone.
# KEYS head p c t log · ARGV epoch, length of the log, then kind, key, '=' and the value found or '-', value …
REPAIR = (
    _LIBRARY
    + r"""
local head = load_head(KEYS[1])
if not head then return {'absent'} end
if head.epoch ~= ARGV[1] then return {'epoch', head.epoch} end
local repaired = 0
for i = 3, #ARGV, 4 do
  local kind, key, found, value = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local hash = KEYS[1 + PLACE[kind]]
  local held = redis.call('HGET', hash, key)
  if (held and '=' .. held or '-') == found then
    if value == '' then
      redis.call('HDEL', hash, key)
      write_log(KEYS[5], ARGV[2], kind, key, string.format('%.0f|', head.revision))
    else
      redis.call('HSET', hash, key, value)
      write_log(KEYS[5], ARGV[2], kind, key, value)
    end
    repaired = repaired + 1
  end
end
return {'ok', repaired}
"""
)
